package kubeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// patcher is the change that a patch of a media type is.
func patcher(media string, data []byte) (func(object.Object) (object.Object, error), error) {
	switch media {
	case "application/json-patch+json":
		return jsonPatch(data)
	case "application/merge-patch+json", "application/strategic-merge-patch+json":
		p, err := object.Parse(data)
		if err != nil {
			return nil, badRequestf("the patch is no JSON object: %w", err)
		}
		merge := mergePatch
		if media == "application/strategic-merge-patch+json" {
			merge = strategic
		}
		return func(o object.Object) (object.Object, error) {
			out, err := merge(map[string]any(o), map[string]any(p))
			if err != nil {
				return nil, err
			}
			return out.(map[string]any), nil
		}, nil
	case "application/apply-patch+yaml", "application/apply-patch+cbor":
		return nil, &fault.Error{Op: "kubeapi", Kind: fault.Unsupported, Err: errors.New("server-side apply is not available here: use kubectl apply without --server-side")}
	}
	return nil, &fault.Error{Op: "kubeapi", Kind: fault.Unsupported, Err: fmt.Errorf("a patch of the media type %q is not known", media)}
}

// mergePatch is RFC 7386: null removes, objects merge, the rest replaces.
func mergePatch(to, patch any) (any, error) {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch, nil
	}
	out, ok := to.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		merged, err := mergePatch(out[k], v)
		if err != nil {
			return nil, err
		}
		out[k] = merged
	}
	return out, nil
}

// mergeKeys are the lists of objects that a strategic merge patch merges, by
// the name of the list, with the field that its items are known by. The others
// are replaced, as Kubernetes does with lists of no merge strategy.
var mergeKeys = map[string]string{
	"conditions": "type", "containers": "name", "env": "name", "imagePullSecrets": "name", "ownerReferences": "uid",
	"ports": "containerPort", "secrets": "name", "volumeMounts": "mountPath", "volumes": "name",
}

// strategic is Kubernetes' strategic merge patch, with the directives $patch,
// $retainKeys, $setElementOrder and $deleteFromPrimitiveList.
func strategic(to, patch any) (any, error) {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch, nil
	}
	out, ok := to.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	switch p["$patch"] {
	case nil, "merge":
	case "replace":
		out = map[string]any{}
	case "delete":
		return map[string]any{}, nil
	default:
		return nil, badRequestf("unknown directive $patch: %v", p["$patch"])
	}
	for k, v := range p {
		if err := strategicField(out, k, v); err != nil {
			return nil, err
		}
	}
	if retain, ok := p["$retainKeys"].([]any); ok {
		for k := range out {
			if !slices.Contains(retain, any(k)) {
				delete(out, k)
			}
		}
	}
	return out, nil
}

// strategicField applies one field of a patch to out.
func strategicField(out map[string]any, k string, v any) error {
	if list, ok := strings.CutPrefix(k, "$deleteFromPrimitiveList/"); ok {
		items, _ := out[list].([]any)
		gone, _ := v.([]any)
		out[list] = slices.DeleteFunc(items, func(e any) bool { return slices.ContainsFunc(gone, func(g any) bool { return object.Same(e, g) }) })
		return nil
	}
	if strings.HasPrefix(k, "$") {
		return nil // directives of the object, and the order of lists, which stays
	}
	if v == nil {
		delete(out, k)
		return nil
	}
	if items, ok := v.([]any); ok && mergeKeys[k] != "" {
		merged, err := mergeList(out[k], items, mergeKeys[k])
		out[k] = merged
		return err
	}
	merged, err := strategic(out[k], v)
	out[k] = merged
	return err
}

// mergeList merges the items of a patch into a list by their key.
func mergeList(to any, patch []any, key string) ([]any, error) {
	out, _ := to.([]any)
	for _, p := range patch {
		item, ok := p.(map[string]any)
		if !ok {
			return nil, badRequestf("an item of a list that is merged by %q is no object", key)
		}
		i := slices.IndexFunc(out, func(e any) bool {
			m, ok := e.(map[string]any)
			return ok && m[key] != nil && object.Same(m[key], item[key])
		})
		switch {
		case item["$patch"] == "delete":
			if i >= 0 {
				out = slices.Delete(out, i, i+1)
			}
		case i >= 0:
			merged, err := strategic(out[i], item)
			if err != nil {
				return nil, err
			}
			out[i] = merged
		default:
			out = append(out, item)
		}
	}
	return out, nil
}

// operation is one of a JSON patch.
type operation struct {
	Op    string           `json:"op"`
	Path  string           `json:"path"`
	From  string           `json:"from"`
	Value *json.RawMessage `json:"value"`
}

// maxOperations bounds a JSON patch, as Kubernetes does.
const maxOperations = 10_000

// jsonPatch is RFC 6902.
func jsonPatch(data []byte) (func(object.Object) (object.Object, error), error) {
	var ops []operation
	if err := json.Unmarshal(data, &ops); err != nil {
		return nil, badRequestf("the patch is no list of operations: %w", err)
	}
	if len(ops) > maxOperations {
		return nil, badRequestf("the patch has %d operations; at most %d are done", len(ops), maxOperations)
	}
	return func(o object.Object) (object.Object, error) {
		var doc any = map[string]any(o)
		for i, op := range ops {
			var err error
			if doc, err = op.apply(doc); err != nil {
				return nil, &fault.Error{Op: "kubeapi", Kind: fault.Invalid, Field: op.Path, Err: fmt.Errorf("operation %d of the patch: %w", i, err)}
			}
		}
		out, ok := doc.(map[string]any)
		if !ok {
			return nil, badRequestf("the patch leaves no object")
		}
		return out, nil
	}, nil
}

// apply does one operation.
func (op operation) apply(doc any) (any, error) {
	path, err := pointer(op.Path)
	if err != nil {
		return nil, err
	}
	var value any
	switch op.Op {
	case "add", "replace", "test":
		if op.Value == nil {
			return nil, errors.New("it has no value")
		}
		wrapped, err := object.Parse([]byte(`{"v":` + string(*op.Value) + `}`))
		if err != nil {
			return nil, err
		}
		value = wrapped["v"]
	case "move", "copy":
		from, err := pointer(op.From)
		if err != nil {
			return nil, err
		}
		found, ok := at(doc, from)
		if !ok {
			return nil, fmt.Errorf("there is nothing at %q", op.From)
		}
		value = object.Object{"v": found}.Clone()["v"]
		if op.Op == "move" {
			if doc, err = edit(doc, from, remove, nil); err != nil {
				return nil, err
			}
		}
		return edit(doc, path, add, value)
	}
	switch op.Op {
	case "add":
		return edit(doc, path, add, value)
	case "replace":
		return edit(doc, path, replace, value)
	case "remove":
		return edit(doc, path, remove, nil)
	case "test":
		if found, ok := at(doc, path); !ok || !object.Same(found, value) {
			return nil, fmt.Errorf("the test of %q failed", op.Path)
		}
		return doc, nil
	}
	return nil, fmt.Errorf("unknown operation %q", op.Op)
}

// pointer reads a JSON pointer, RFC 6901.
func pointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("%q is no JSON pointer", text)
	}
	parts := strings.Split(text[1:], "/")
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	return parts, nil
}

// at is the value that a pointer is at.
func at(doc any, path []string) (any, bool) {
	for _, p := range path {
		switch v := doc.(type) {
		case map[string]any:
			next, ok := v[p]
			if !ok {
				return nil, false
			}
			doc = next
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			doc = v[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// What edit does at the end of its path.
const (
	add = iota
	replace
	remove
)

// edit changes what is at a path, and returns the document.
func edit(doc any, path []string, how int, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	key, rest := path[0], path[1:]
	switch v := doc.(type) {
	case map[string]any:
		old, there := v[key]
		switch {
		case len(rest) > 0 && there:
			changed, err := edit(old, rest, how, value)
			if err != nil {
				return nil, err
			}
			v[key] = changed
		case len(rest) > 0, how != add && !there:
			return nil, fmt.Errorf("there is no %q", key)
		case how == remove:
			delete(v, key)
		default:
			v[key] = value
		}
		return v, nil
	case []any:
		return editList(v, path, how, value)
	}
	return nil, fmt.Errorf("%q is in no object and no list", key)
}

// editList is edit in a list; "-" is after its end.
func editList(v []any, path []string, how int, value any) (any, error) {
	i, err := strconv.Atoi(path[0])
	if path[0] == "-" {
		i, err = len(v), nil
	}
	last := len(v) - 1
	if how == add && len(path) == 1 {
		last = len(v)
	}
	if err != nil || i < 0 || i > last {
		return nil, fmt.Errorf("there is no item %q in a list of %d", path[0], len(v))
	}
	switch {
	case len(path) > 1:
		v[i], err = edit(v[i], path[1:], how, value)
	case how == add:
		v = slices.Insert(v, i, value)
	case how == remove:
		v = slices.Delete(v, i, i+1)
	default:
		v[i] = value
	}
	return v, err
}
