package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// document is one YAML document, as JSON and as the fields at its top.
type document struct {
	json   []byte
	fields map[string]any
}

// split cuts a file at its document markers: lines that begin with "---" or
// "..." and then end or go on after a blank. The YAML library reads only the
// first document of what it is given.
func split(text []byte) [][]byte {
	chunks := [][]byte{nil}
	for line := range bytes.Lines(text) {
		marker := line[:min(len(line), 3)]
		if rest := line[len(marker):]; len(bytes.TrimLeft(rest, " \t\r\n")) == len(rest) && len(rest) > 0 {
			marker = nil
		}
		switch string(marker) {
		case "---":
			chunks = append(chunks, line[3:])
		case "...":
			chunks = append(chunks, nil)
		default:
			last := len(chunks) - 1
			chunks[last] = append(chunks[last], line...)
		}
	}
	return chunks
}

// decode reads one document. A chunk without content has no fields.
func decode(chunk []byte) (document, error) {
	text, err := yaml.YAMLToJSONStrict(chunk)
	if err != nil {
		return document{}, err
	}
	doc := document{json: text}
	if err := json.Unmarshal(text, &doc.fields); err != nil {
		return document{}, errors.New("the document is not an object")
	}
	return doc, nil
}

// into reads doc as a T, every field of which must be known. Unlike the JSON
// package, and like Kubernetes, it tells upper from lower case in the names of
// fields, and says where in a list the mistake is.
func into[T any](doc document) (T, error) {
	var out T
	if err := checkShape("", doc.fields, reflect.TypeFor[T]()); err != nil {
		return out, err
	}
	err := json.Unmarshal(doc.json, &out)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return out, fieldErrorf(mismatch.Field, "%s is not a value of type %s", mismatch.Value, mismatch.Type)
	}
	return out, err
}

// checkShape refuses a value that is not what its type asks for: an object with
// known fields only, a list, a string. What is null is absent. Numbers are left
// to the JSON package.
func checkShape(path string, v any, t reflect.Type) error {
	if v == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return checkShape(path, v, t.Elem())
	case reflect.String:
		if _, ok := v.(string); !ok {
			return fieldErrorf(path, "%v is not a string", v)
		}
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return fieldErrorf(path, "%v is not a list", v)
		}
		for i, item := range list {
			if err := checkShape(fmt.Sprintf("%s[%d]", path, i), item, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Map, reflect.Struct:
		object, ok := v.(map[string]any)
		if !ok {
			return fieldErrorf(path, "%v is not an object", v)
		}
		return checkEntries(path, object, t)
	}
	return nil
}

// checkEntries checks the entries of an object of type t, a struct or a map.
func checkEntries(path string, object map[string]any, t reflect.Type) error {
	known := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			known[name] = t.Field(i).Type
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, of := strings.TrimPrefix(path+"."+name, "."), known[name]
		if t.Kind() == reflect.Map {
			of = t.Elem()
		}
		if of == nil {
			return fieldErrorf(field, "no such field")
		}
		if err := checkShape(field, object[name], of); err != nil {
			return err
		}
	}
	return nil
}
