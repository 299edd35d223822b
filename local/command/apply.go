package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// doc is a resource of a file.
type doc struct {
	file     string
	resource *schema.Resource
	object   proto.Message
	// mask are the fields that the document says.
	mask []string
}

// name is the resource's name.
func (d doc) name() string { return string(d.resource.NameOf(d.object)) }

// apply is `selvedge apply`.
func (a *app) apply() *cobra.Command {
	var files []string
	var dry bool
	c := &cobra.Command{
		Use: "apply -f FILE|FOLDER…", Short: "Make resources be as files say", Args: exactly(),
		Long: `Make resources be as files say: create what is not there, and set the fields
that a document has of what is. Fields that it does not have stay as they are.

A file is YAML or JSON with one resource per document: its fields, its name,
and, where the name could be of several types, its "@type". What selvedge export
writes is such a file. "-" is standard input; a folder is every .yaml, .yml and
.json file below it.`,
		Example: "  selvedge apply -f fleet/\n  selvedge export devices | selvedge apply -f -",
		RunE: func(c *cobra.Command, _ []string) error {
			r, docs, err := a.read(c, files)
			if err != nil {
				return err
			}
			return a.applyAll(c, r, docs, dry)
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "a file, a folder, or - for standard input; may be given often")
	c.Flags().BoolVar(&dry, "dry-run", false, "check everything and do nothing")
	return c
}

// applyAll applies documents. One that refers to another which comes later is
// applied again after the others, for as long as that helps.
func (a *app) applyAll(c *cobra.Command, r *remote, docs []doc, dry bool) error {
	for all := docs; len(docs) > 0; {
		var later []doc
		var last error
		for _, d := range docs {
			done, err := r.applyOne(c, d, dry)
			if dry && forward(err, d, all) {
				err = nil
			}
			if fault.ReasonOf(err) == "BROKEN_REFERENCE" {
				later, last = append(later, d), fmt.Errorf("%s: %w", d.file, err)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %s: %w", d.file, d.name(), err)
			}
			if _, err := fmt.Fprintf(a.out, "%s %s\n", d.name(), done); err != nil {
				return err
			}
		}
		if len(later) == len(docs) {
			return last
		}
		docs = later
	}
	return nil
}

// applyOne applies a document and says what that did.
func (r *remote) applyOne(c *cobra.Command, d doc, dry bool) (string, error) {
	before, err := r.call(c.Context(), d.resource, resourcev1.Method_GET, map[string]any{"name": d.name()})
	if err != nil && !isMissing(err) {
		return "", err
	}
	after, err := r.call(c.Context(), d.resource, resourcev1.Method_UPDATE, map[string]any{
		snake(d.resource.Singular): d.object, "update_mask": d.mask, "allow_missing": true, "validate_only": dry,
	})
	switch {
	case before == nil:
		return "created", err
	case err == nil && versionOf(d.resource, before) == versionOf(d.resource, after):
		return "unchanged", nil
	}
	return "updated", err
}

// forward reports whether the platform refused a document because it refers to
// one of the others that is not there yet, so that all of them together are
// right as far as that goes.
func forward(err error, d doc, docs []doc) bool {
	var f *fault.Error
	if fault.ReasonOf(err) != "BROKEN_REFERENCE" || !errors.As(err, &f) {
		return false
	}
	path, err := fieldpath.Parse(d.resource.Message.Descriptor(), f.Field)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(path.Get(d.object.ProtoReflect()), func(v fieldpath.Value) bool {
		return slices.ContainsFunc(docs, func(other doc) bool { return other.name() == v.String() })
	})
}

// onto is what the document makes of a resource, nil for none, as far as is
// known here.
func (d doc) onto(old protoreflect.Message) (protoreflect.Message, error) {
	mask, err := fieldmask.Parse(d.resource.Message.Descriptor(), &fieldmaskpb.FieldMask{Paths: d.mask})
	if err != nil {
		return nil, err
	}
	out := d.resource.New()
	if old != nil {
		out = proto.Clone(old.Interface())
	}
	d.resource.SetName(out, d.resource.NameOf(d.object))
	return out.ProtoReflect(), fieldmask.Merge(mask, out, d.object)
}

// versionOf is the resource version of a resource.
func versionOf(x *schema.Resource, m protoreflect.Message) string {
	v, ok := metadata(x, m, "resource_version")
	if !ok {
		return ""
	}
	return v.String()
}

// diff is `selvedge diff`.
func (a *app) diff() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use: "diff -f FILE|FOLDER…", Short: "Show what apply would change", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			r, docs, err := a.read(c, files)
			if err != nil {
				return err
			}
			for _, d := range docs {
				if err := a.diffOne(c, r, d, docs); err != nil {
					return fmt.Errorf("%s: %s: %w", d.file, d.name(), err)
				}
			}
			return nil
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "a file, a folder, or - for standard input; may be given often")
	return c
}

// diffOne prints the lines that applying one of the documents takes away and
// adds.
func (a *app) diffOne(c *cobra.Command, r *remote, d doc, docs []doc) error {
	var before []byte
	old, err := r.call(c.Context(), d.resource, resourcev1.Method_GET, map[string]any{"name": d.name()})
	switch {
	case err == nil:
		if before, err = document(d.resource, old); err != nil {
			return err
		}
	case !isMissing(err):
		return err
	}
	made, err := r.call(c.Context(), d.resource, resourcev1.Method_UPDATE, map[string]any{
		snake(d.resource.Singular): d.object, "update_mask": d.mask, "allow_missing": true, "validate_only": true,
	})
	if forward(err, d, docs) {
		made, err = d.onto(old)
	}
	if err != nil {
		return err
	}
	after, err := document(d.resource, made)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	_, err = io.WriteString(a.out, "--- "+d.name()+"\n+++ "+d.file+"\n"+lineDiff(string(before), string(after)))
	return err
}

// lineDiff are the lines of two texts with what goes and what comes marked: the
// shortest such list.
func lineDiff(before, after string) string {
	x, y := lines(before), lines(after)
	// common[i][j] is the length of the longest common subsequence of x[i:], y[j:].
	common := make([][]int, len(x)+1)
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var b strings.Builder
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			b.WriteString("  " + x[i] + "\n")
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1]:
			b.WriteString("- " + x[i] + "\n")
			i++
		default:
			b.WriteString("+ " + y[j] + "\n")
			j++
		}
	}
	return b.String()
}

// lines are the lines of a text.
func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// export is `selvedge export`.
func (a *app) export() *cobra.Command {
	var o listOptions
	c := a.completing(&cobra.Command{
		Use: "export [TYPE…]", Short: "Write resources as a file that apply reads", Args: cobra.ArbitraryArgs,
		Long: `Write the resources of the types, or of all types that are in a project, as YAML
that selvedge apply makes again: without what only the platform writes, and without secrets, which
no list shows.`,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.remote(c.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = a.typesInProject(r.types)
			}
			first := true
			for _, arg := range args {
				t, err := a.target(r, arg)
				if err != nil {
					return err
				}
				all := []protoreflect.Message{}
				if t.name == "" {
					all, err = r.list(c.Context(), t, o)
				} else {
					all = append(all, nil)
					all[0], err = r.call(c.Context(), t.resource, resourcev1.Method_GET, map[string]any{"name": string(t.name)})
				}
				if err != nil {
					return err
				}
				for _, m := range all {
					text, err := document(t.resource, m)
					if err != nil {
						return err
					}
					if !first {
						text = append([]byte("---\n"), text...)
					}
					first = false
					if _, err := a.out.Write(text); err != nil {
						return err
					}
				}
			}
			return nil
		},
	})
	c.Flags().StringVar(&o.filter, "filter", "", "which of them")
	c.Flags().StringVar(&o.parent, "parent", "", "whose, instead of those of --project")
	return c
}

// typesInProject are the plurals of the types whose resources a project has, and
// that can be made.
func (a *app) typesInProject(types *schema.Registry) []string {
	return slices.DeleteFunc(typeNames(types), func(name string) bool {
		x, _ := typeOf(types, name)
		parent, err := a.parent(x)
		return err != nil || parent == "" || slices.Contains(x.Options.GetWithout(), resourcev1.Method_CREATE)
	})
}

// maxFile bounds a file of resources.
const maxFile = 64 << 20

// read reads the documents of files.
func (a *app) read(c *cobra.Command, files []string) (*remote, []doc, error) {
	if len(files) == 0 {
		return nil, nil, usageError{errors.New("--file is missing")}
	}
	r, err := a.remote(c.Context())
	if err != nil {
		return nil, nil, err
	}
	var docs []doc
	for _, path := range files {
		found, err := readPath(c, r, path)
		if err != nil {
			return nil, nil, err
		}
		docs = append(docs, found...)
	}
	return r, docs, nil
}

// readPath reads the documents of a file, a folder or standard input.
func readPath(c *cobra.Command, r *remote, path string) ([]doc, error) {
	if path == "-" {
		text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxFile))
		if err != nil {
			return nil, err
		}
		return readDocs(r, "standard input", text)
	}
	var docs []doc
	err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || file != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, err := readDocs(r, file, text)
		docs = append(docs, found...)
		return err
	})
	return docs, err
}

// readDocs reads the documents of a text.
func readDocs(r *remote, file string, text []byte) ([]doc, error) {
	var docs []doc
	for i, part := range strings.Split("\n"+string(text), "\n---") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		d, err := readDoc(r, []byte(part))
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, i+1, err)
		}
		d.file = file
		docs = append(docs, d)
	}
	return docs, nil
}

// readDoc reads one document.
func readDoc(r *remote, text []byte) (doc, error) {
	var object map[string]json.RawMessage
	if err := yaml.Unmarshal(text, &object); err != nil {
		return doc{}, err
	}
	var kind, name string
	for key, into := range map[string]*string{typeKey: &kind, "name": &name} {
		if object[key] == nil {
			continue
		}
		if err := json.Unmarshal(object[key], into); err != nil {
			return doc{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	delete(object, typeKey)
	var d doc
	var err error
	if kind == "" {
		d.resource, err = r.types.Resolve(name)
	} else if x, ok := typeOf(r.types, kind); ok {
		d.resource = x
		_, err = x.Parse(name)
	} else {
		err = fmt.Errorf("there is no type %q", kind)
	}
	if err != nil {
		return doc{}, err
	}
	body, err := json.Marshal(object)
	if err != nil {
		return doc{}, err
	}
	d.object = d.resource.New()
	if err := protojson.Unmarshal(body, d.object); err != nil {
		return doc{}, err
	}
	d.mask = said(d.resource, object)
	return d, nil
}

// said are the paths of the fields that a document says, the metadata's by
// themselves: the rest of it is the platform's.
func said(x *schema.Resource, object map[string]json.RawMessage) []string {
	var mask []string
	fields := x.Message.Descriptor().Fields()
	for key, value := range object {
		f := fields.ByJSONName(key)
		if f == nil {
			f = fields.ByTextName(key)
		}
		switch {
		case f == nil || f == x.Name:
		case f == x.Metadata:
			var inner map[string]json.RawMessage
			if json.Unmarshal(value, &inner) != nil {
				continue // the whole did decode, so this does
			}
			for k := range inner {
				g := f.Message().Fields().ByJSONName(k)
				if g == nil {
					g = f.Message().Fields().ByTextName(k)
				}
				if g != nil {
					mask = append(mask, string(f.Name())+"."+string(g.Name()))
				}
			}
		default:
			mask = append(mask, string(f.Name()))
		}
	}
	slices.Sort(mask)
	return mask
}
