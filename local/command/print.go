package command

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// printResources prints resources as the user asked. A single one is printed
// alone rather than as a list of one.
func (a *app) printResources(x *schema.Resource, all []protoreflect.Message, single bool) error {
	switch a.output {
	case "yaml":
		for i, m := range all {
			text, err := marshal(m)
			if err != nil {
				return err
			}
			doc, err := yaml.JSONToYAML(text)
			if err != nil {
				return err
			}
			if i > 0 {
				doc = append([]byte("---\n"), doc...)
			}
			if _, err := a.out.Write(doc); err != nil {
				return err
			}
		}
		return nil
	case "json":
		docs := make([]json.RawMessage, len(all))
		for i, m := range all {
			var err error
			if docs[i], err = marshal(m); err != nil {
				return err
			}
		}
		if single {
			return a.print(docs[0], nil)
		}
		return a.print(docs, nil)
	}
	return a.print(nil, func(w io.Writer) {
		fields := columns(x)
		head := []any{"NAME"}
		for _, f := range fields {
			head = append(head, strings.ToUpper(strings.ReplaceAll(string(f.Name()), "_", " ")))
		}
		row(w, append(head, "LABELS", "AGE")...)
		for _, m := range all {
			cells := []any{m.Get(x.Name).String()}
			for _, f := range fields {
				cells = append(cells, cell(m, f))
			}
			row(w, append(cells, labels(x, m), age(x, m))...)
		}
	})
}

// maxColumns is how many fields fit a terminal besides name, labels and age.
const maxColumns = 5

// columns are the fields that a table shows: what can be said in a word.
func columns(x *schema.Resource) []protoreflect.FieldDescriptor {
	var out []protoreflect.FieldDescriptor
	fields := x.Message.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		secret := slices.ContainsFunc(x.Secrets, func(p fieldpath.Path) bool { return p.String() == string(f.Name()) })
		if f != x.Name && !f.IsMap() && f.Message() == nil && f.Kind() != protoreflect.BytesKind && !secret && len(out) < maxColumns {
			out = append(out, f)
		}
	}
	return out
}

// cell is the value of a field in a word, "" if it is not set.
func cell(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	one := func(v protoreflect.Value) string {
		if f.Kind() == protoreflect.EnumKind {
			if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
				return string(d.Name())
			}
		}
		return v.String()
	}
	if !m.Has(f) {
		return ""
	}
	if !f.IsList() {
		return one(m.Get(f))
	}
	var out []string
	for i := range m.Get(f).List().Len() {
		out = append(out, one(m.Get(f).List().Get(i)))
	}
	return strings.Join(out, ",")
}

// metadata is a field of a resource's metadata, and whether it is set.
func metadata(x *schema.Resource, m protoreflect.Message, name protoreflect.Name) (protoreflect.Value, bool) {
	if x.Metadata == nil || !m.Has(x.Metadata) {
		return protoreflect.Value{}, false
	}
	md := m.Get(x.Metadata).Message()
	f := md.Descriptor().Fields().ByName(name)
	return md.Get(f), md.Has(f)
}

// labels are the labels of a resource.
func labels(x *schema.Resource, m protoreflect.Message) string {
	v, ok := metadata(x, m, "labels")
	if !ok {
		return ""
	}
	all := map[string]string{}
	v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		all[k.String()] = v.String()
		return true
	})
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, k+"="+all[k])
	}
	return strings.Join(out, ",")
}

// age is how long a resource has been there.
func age(x *schema.Resource, m protoreflect.Message) string {
	v, ok := metadata(x, m, "create_time")
	if !ok {
		return ""
	}
	seconds := v.Message().Get(v.Message().Descriptor().Fields().ByName("seconds")).Int()
	d := time.Since(time.Unix(seconds, 0))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(0, d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// typeKey is the key of a document that says which type it is of.
const typeKey = "@type"

// document is a resource as apply reads it: YAML with its type, without what
// only the platform writes.
func document(x *schema.Resource, m protoreflect.Message) ([]byte, error) {
	object, err := fields(x, m)
	if err != nil {
		return nil, err
	}
	object[typeKey] = x.Type
	return yaml.Marshal(object)
}

// fields are the fields of a resource that are its writer's, as JSON.
func fields(x *schema.Resource, m protoreflect.Message) (map[string]any, error) {
	own := m.Interface()
	for _, p := range x.OutputOnly {
		p.Clear(own.ProtoReflect())
	}
	if x.Metadata != nil && m.Has(x.Metadata) {
		md := m.Mutable(x.Metadata).Message()
		md.Clear(md.Descriptor().Fields().ByName("resource_version"))
		empty := true
		md.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool {
			empty = false
			return false
		})
		if empty {
			m.Clear(x.Metadata)
		}
	}
	text, err := marshal(m)
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	return object, json.Unmarshal(text, &object)
}
