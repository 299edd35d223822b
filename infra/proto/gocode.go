package main

import (
	"cmp"
	_ "embed" // the template
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"selvedge.dev/sdk/schema"
)

// goText is the template of a package's Go code.
//
//go:embed schema.go.tmpl
var goText string

// goCode is the Go code that knows a package: its types, their names and paths,
// and the OpenAPI document if there is one.
func (p *servicePackage) goCode(image *descriptorpb.FileDescriptorSet, root string, documented bool) ([]byte, error) {
	gen, err := protogen.Options{}.New(p.request(image, ""))
	if err != nil {
		return nil, err
	}
	first := gen.FilesByPath[p.files[0].Path()]
	g := gen.NewGeneratedFile(p.beside(goFile), first.GoImportPath)
	data := goPackage{Header: header, Package: string(first.GoPackageName), Service: p.service}
	if data.Explained, err = explained(filepath.Join(root, filepath.FromSlash(path.Dir(p.files[0].Path())))); err != nil {
		return nil, err
	}
	if documented {
		g.Import("embed")
		data.Document = openAPIFile
	}
	for _, f := range p.files {
		const packageField = 2 // of google.protobuf.FileDescriptorProto
		comment := gen.FilesByPath[f.Path()].Desc.SourceLocations().ByPath(protoreflect.SourcePath{packageField}).LeadingComments
		if data.Comment == nil && comment != "" {
			data.Comment = strings.Split(strings.TrimSuffix(comment, "\n"), "\n")
		}
		data.Descriptors = append(data.Descriptors, gen.FilesByPath[f.Path()].GoDescriptorIdent.GoName)
	}
	messages := map[protoreflect.FullName]*protogen.Message{}
	for _, f := range p.files {
		for _, m := range gen.FilesByPath[f.Path()].Messages {
			messages[m.Desc.FullName()] = m
		}
	}
	for _, x := range p.service.Resources {
		if x.Options.GetHidden() {
			continue
		}
		t, err := goTypeOf(typ{x})
		if err != nil {
			return nil, err
		}
		t.addPaths(g, messages[x.Message.Descriptor().FullName()], goPath{}, nil)
		data.Types = append(data.Types, t)
	}
	from := func(pkg protogen.GoImportPath) func(string) string {
		return func(name string) string { return g.QualifiedGoIdent(pkg.Ident(name)) }
	}
	text, err := execute(goText, data, template.FuncMap{
		"schema": from("selvedge.dev/sdk/schema"), "resource": from("selvedge.dev/sdk/resource"),
		"fieldpath": from("selvedge.dev/sdk/fieldpath"), "registry": from("google.golang.org/protobuf/reflect/protoregistry"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := g.Write(text); err != nil {
		return nil, err
	}
	return g.Content()
}

// explained reports whether a Go file that is not generated has a package
// comment.
func explained(dir string) (bool, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return false, err
		}
		if f.Doc != nil && !ast.IsGenerated(f) {
			return true, nil
		}
	}
	return false, nil
}

// request asks a plugin to generate something from the files of the package.
func (p *servicePackage) request(image *descriptorpb.FileDescriptorSet, parameter string) *pluginpb.CodeGeneratorRequest {
	r := &pluginpb.CodeGeneratorRequest{ProtoFile: image.File, Parameter: &parameter}
	for _, f := range p.files {
		r.FileToGenerate = append(r.FileToGenerate, f.Path())
	}
	return r
}

// goPackage is the Go code of a package as its template sees it.
type goPackage struct {
	Header, Package string
	Service         *schema.Service
	// Explained is whether a file that a person wrote has the package comment.
	Explained bool
	// Comment are the lines of the comment of the first file that has one for
	// the proto package.
	Comment []string
	// Document is the name of the file with the OpenAPI document, "" for none.
	Document string
	// Descriptors are the variables with the descriptors of the files.
	Descriptors []string
	Types       []*goType
}

// goType is what Go code knows of a type of resource.
type goType struct {
	typ
	// Forms are the patterns, in the order of the proto file.
	Forms []form
	// Paths are the paths of its fields.
	Paths []goPath
	// variables are those of all forms.
	variables []string
}

// form is a pattern.
type form struct {
	Pattern string
	// optional are the variables that other forms have not, by which this one
	// is told.
	optional []string
}

// goTypeOf is what Go code knows of t, without paths. Each of its patterns must
// be told by its variables.
func goTypeOf(t typ) (*goType, error) {
	n := &goType{typ: t}
	count := map[string]int{}
	for _, p := range t.Patterns {
		n.Forms = append(n.Forms, form{Pattern: string(p)})
		for _, v := range variables(string(p)) {
			count[v]++
		}
	}
	for i := range n.Forms {
		for _, v := range variables(n.Forms[i].Pattern) {
			if count[v] < len(n.Forms) {
				n.Forms[i].optional = append(n.Forms[i].optional, v)
			}
		}
		slices.Sort(n.Forms[i].optional)
	}
	for i, f := range n.ordered() {
		for _, v := range variables(f.Pattern) {
			if !slices.Contains(n.variables, v) {
				n.variables = append(n.variables, v)
			}
		}
		if i > 0 && slices.Equal(f.optional, n.ordered()[i-1].optional) {
			return nil, fmt.Errorf("%s: the patterns %s and %s have the same variables", t.Type, n.ordered()[i-1].Pattern, f.Pattern)
		}
	}
	return n, nil
}

// ordered are the forms, those with more variables first.
func (n *goType) ordered() []form {
	return slices.SortedStableFunc(slices.Values(n.Forms), func(a, b form) int {
		return cmp.Or(cmp.Compare(len(b.optional), len(a.optional)), slices.Compare(a.optional, b.optional))
	})
}

// Choices are the forms but the last, which is what remains.
func (n *goType) Choices() []form { return n.ordered()[:len(n.Forms)-1] }

// Last is the form with the fewest variables.
func (n *goType) Last() form { return n.ordered()[len(n.Forms)-1] }

// Vars are the names of the fields of a name.
func (n *goType) Vars() string {
	var out []string
	for _, v := range n.variables {
		out = append(out, camel(v))
	}
	return strings.Join(out, ", ")
}

// Pointers are the items of a map from the variables to the fields of a name.
func (n *goType) Pointers() string {
	var out []string
	for _, v := range n.variables {
		out = append(out, fmt.Sprintf("%q: &n.%s", v, camel(v)))
	}
	return strings.Join(out, ", ")
}

// When is the condition under which a name has the form.
func (f form) When() string {
	var out []string
	for _, v := range f.optional {
		out = append(out, "n."+camel(v)+` != ""`)
	}
	return strings.Join(out, " && ")
}

// Concat is the Go expression for a name of the form.
func (f form) Concat() string {
	var out []string
	text := ""
	for i, s := range strings.Split(f.Pattern, "/") {
		if i > 0 {
			text += "/"
		}
		if v, ok := variable(s); ok {
			out = append(out, fmt.Sprintf("%q", text), "n."+camel(v))
			text = ""
			continue
		}
		text += s
	}
	return strings.Join(out, " + ")
}

// goPath is the path of a field: the end of its Go name, the Go type of its
// values, and its text.
type goPath struct{ Name, Type, Path string }

// addPaths adds the paths of the fields of m, which prefix leads to, and of
// messages of the package in them. Within are the messages that m is in: one
// that comes again is not entered again.
func (n *goType) addPaths(g *protogen.GeneratedFile, m *protogen.Message, prefix goPath, within []*protogen.Message) {
	if slices.Contains(within, m) {
		return
	}
	for _, f := range m.Fields {
		value := f
		p := goPath{Name: prefix.Name + f.GoName, Path: prefix.Path + string(f.Desc.Name())}
		if f.Desc.IsMap() {
			value = f.Message.Fields[1]
		}
		p.Type = goTypeName(g, value)
		n.Paths = append(n.Paths, p)
		if value.Message == nil || value.Message.Desc.ParentFile().Package() != m.Desc.ParentFile().Package() {
			continue
		}
		p.Path += "."
		if f.Desc.IsMap() {
			p.Path += "*."
		}
		n.addPaths(g, value.Message, p, append(slices.Clone(within), m))
	}
}

// goTypeName is the Go type of the values of a field, of a list its items.
func goTypeName(g *protogen.GeneratedFile, f *protogen.Field) string {
	switch f.Desc.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return "*" + g.QualifiedGoIdent(f.Message.GoIdent)
	case protoreflect.EnumKind:
		return g.QualifiedGoIdent(f.Enum.GoIdent)
	case protoreflect.BoolKind, protoreflect.StringKind:
		return f.Desc.Kind().String()
	case protoreflect.BytesKind:
		return "[]byte"
	case protoreflect.FloatKind:
		return "float32"
	case protoreflect.DoubleKind:
		return "float64"
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return "int32"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "uint32"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "uint64"
	default:
		return "int64"
	}
}

// variables are the variables of a pattern.
func variables(pattern string) []string {
	var out []string
	for s := range strings.SplitSeq(pattern, "/") {
		if v, ok := variable(s); ok {
			out = append(out, v)
		}
	}
	return out
}

// variable is the variable that a segment of a pattern is.
func variable(segment string) (string, bool) {
	v, ok := strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(v, "}"), ok
}

// camel is a snake case name in upper camel case.
func camel(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "_") {
		if part != "" {
			b.WriteString(upper(part))
		}
	}
	return b.String()
}
