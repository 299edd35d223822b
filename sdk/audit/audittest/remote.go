package audittest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// Remote is a platform that is asked over REST.
type Remote struct {
	// Get answers GET of a path with a query, as an administrator.
	Get func(ctx context.Context, path string, q url.Values) ([]byte, error)
	// Types are the types of its resources.
	Types *schema.Registry
}

// Changes are the records of changes below a parent, "projects/p" or "" for what
// belongs to no project, the oldest first.
func (r Remote) Changes(ctx context.Context, parent string) ([][]byte, error) {
	var all []json.RawMessage
	err := r.pages(ctx, "/v1/"+strings.TrimPrefix(parent+"/resourceChangeLogs", "/"), "resourceChangeLogs", url.Values{"pageSize": {"1000"}}, func(page []json.RawMessage) {
		all = append(all, page...)
	})
	slices.Reverse(all)
	out := make([][]byte, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out, err
}

// Check is an error unless the records of changes of a project, replayed, are
// what the platform lists there: every resource of every type that can be
// listed, but for secrets and versions. The project itself is looked at too, if
// it is a resource. Nothing may change meanwhile, and what was changed is
// recorded some seconds later.
func (r Remote) Check(ctx context.Context, project string) error {
	parent := "projects/" + project
	changes, err := r.Changes(ctx, parent)
	if err != nil {
		return err
	}
	objects := Resources{}
	if err := objects.Replay(r.Types, changes); err != nil {
		return err
	}
	for _, s := range r.Types.Services() {
		for _, m := range s.Methods {
			if m.Verb != resourcev1.Method_LIST {
				continue
			}
			for _, p := range m.Resource.Patterns {
				if !strings.HasPrefix(string(p), "projects/{project}/") || strings.Count(string(p), "/") != 3 {
					continue
				}
				if err := r.list(ctx, m.Resource, parent, objects); err != nil {
					return fmt.Errorf("%s: %w", m.Resource.Type, err)
				}
			}
		}
	}
	for at := range objects {
		if strings.Count(string(at.Name), "/") == 3 {
			return fmt.Errorf("the records have a %s %s, and the platform has none", at.Type, at.Name)
		}
	}
	return nil
}

// list holds what is listed of a type against the objects, and takes it from
// them.
func (r Remote) list(ctx context.Context, x *schema.Resource, parent string, objects Resources) error {
	var wrong error
	err := r.pages(ctx, "/v1/"+parent+"/"+x.Plural, x.Plural, url.Values{"pageSize": {"1000"}, "view": {"DETAIL"}}, func(page []json.RawMessage) {
		for _, body := range page {
			m := x.New()
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
				wrong = err
				return
			}
			if x.Metadata != nil {
				x.MetadataOf(m).ResourceVersion = ""
			}
			at := Object{x.Type, x.NameOf(m)}
			is := objects[at]
			delete(objects, at)
			if is == nil {
				wrong = fmt.Errorf("the platform has %s, and the records do not", at.Name)
				return
			}
			if wrong = differ(x, m, is); wrong != nil {
				return
			}
		}
	})
	return orElse(wrong, err)
}

// pages calls f with each page of a list.
func (r Remote) pages(ctx context.Context, path, field string, q url.Values, f func([]json.RawMessage)) error {
	for {
		body, err := r.Get(ctx, path, q)
		if err != nil {
			return fmt.Errorf("GET %s: %w", path, err)
		}
		var page map[string]json.RawMessage
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("GET %s: %w", path, err)
		}
		var items []json.RawMessage
		var next string
		for name, into := range map[string]any{field: &items, "nextPageToken": &next} {
			if page[name] == nil {
				continue
			}
			if err := json.Unmarshal(page[name], into); err != nil {
				return fmt.Errorf("GET %s: %s: %w", path, name, err)
			}
		}
		f(items)
		if next == "" {
			return nil
		}
		q.Set("pageToken", next)
	}
}
