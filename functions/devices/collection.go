package devices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
)

// collection is the resources of one type: cached reads and checked writes.
type collection[T any] struct {
	kind    kind[T]
	storage storage
	cache   *readcache.Cache[lookup, *T]
}

// read returns a resource, from the cache if it can. It does not allocate then.
func (c *collection[T]) read(ctx context.Context, l lookup) (*T, error) {
	if v, ok, err := c.cache.Get(l); ok {
		return v, err
	}
	l = l.clone()
	return c.cache.Load(l, func() (*T, error) {
		const op = "devices.Read"
		if l.name != "" {
			if _, err := c.kind.pattern.Parse(l.name); err != nil {
				return nil, &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
			}
		}
		body, err := c.storage.find(ctx, l)
		if err != nil {
			return nil, storageFault(op, l.String(), err)
		}
		if body == nil {
			return nil, notFound(op, l.String())
		}
		return decode[T](body)
	})
}

// list returns up to limit resources of a project after that name, by name.
func (c *collection[T]) list(ctx context.Context, project, after string, limit int) ([]*T, error) {
	const op = "devices.List"
	bodies, err := c.storage.list(ctx, c.prefix(project), after, limit)
	if err != nil {
		return nil, storageFault(op, "projects/"+project, err)
	}
	out := make([]*T, len(bodies))
	for i, body := range bodies {
		if out[i], err = decode[T](body); err != nil {
			return nil, storageFault(op, "projects/"+project, err)
		}
	}
	return out, nil
}

// prefix begins the name of every resource of the project.
func (c *collection[T]) prefix(project string) string {
	return "projects/" + project + "/" + c.kind.pattern.Collection() + "/"
}

// create adds v.
func (c *collection[T]) create(ctx context.Context, v T) (*T, error) {
	h := c.kind.header(&v)
	name := *h.name
	*h.create = now()
	*h.update = *h.create
	if err := c.kind.check(&v); err != nil {
		return nil, err
	}
	return c.change(ctx, "devices.Create", name, func(old *T) (*T, error) {
		if old != nil {
			return nil, &fault.Error{Op: "devices.Create", Name: name, Kind: fault.Exists, Field: "name", Err: fmt.Errorf("%s exists", name)}
		}
		return &v, nil
	})
}

// update changes the resource of that name by edit.
func (c *collection[T]) update(ctx context.Context, name string, edit func(*T) error) (*T, error) {
	const op = "devices.Update"
	return c.change(ctx, op, name, func(v *T) (*T, error) {
		if v == nil {
			return nil, notFound(op, name)
		}
		if err := edit(v); err != nil {
			return nil, err
		}
		*c.kind.header(v).update = now()
		return v, c.kind.check(v)
	})
}

// remove deletes the resource of that name.
func (c *collection[T]) remove(ctx context.Context, name string) error {
	const op = "devices.Delete"
	_, err := c.change(ctx, op, name, func(v *T) (*T, error) {
		if v == nil {
			return nil, notFound(op, name)
		}
		return nil, nil
	})
	return err
}

// change makes of the resource of that name what f makes of it, in one
// transaction; nil is none, before and after. It returns what is there now.
func (c *collection[T]) change(ctx context.Context, op, name string, f func(*T) (*T, error)) (*T, error) {
	lookups := []lookup{{name: name}}
	// Dropped whatever happened: a commit that reports an error may have been
	// one all the same.
	defer func() { c.cache.Drop(lookups...) }()
	var after *T
	err := c.storage.change(ctx, name, func(body []byte) (*record, error) {
		var before *T
		if body != nil {
			var err error
			if before, err = decode[T](body); err != nil {
				return nil, err
			}
			lookups = append(lookups, c.lookups(name, before)...)
		}
		var err error
		if after, err = f(before); err != nil || after == nil {
			return nil, err
		}
		lookups = append(lookups, c.lookups(name, after)...)
		r := c.kind.record(after)
		r.body, err = json.Marshal(after)
		return &r, err
	})
	if err != nil {
		return nil, storageFault(op, name, err)
	}
	return after, nil
}

// lookups are the ways besides its name by which v is found.
func (c *collection[T]) lookups(name string, v *T) []lookup {
	var out []lookup
	for _, a := range c.kind.record(v).aliases {
		out = append(out, lookup{project: resource.Name(name).Project(), alias: a})
	}
	return out
}

// decode is the resource that a body holds.
func decode[T any](body []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("decode stored resource: %w", err)
	}
	return v, nil
}

// now is the time of a change, as fine as it is kept.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// notFound is the fault of a name that nothing answers to.
func notFound(op, name string) error {
	return &fault.Error{Op: op, Name: name, Kind: fault.NotFound, Err: errors.New("there is no " + name)}
}

// storageFault makes a fault of an error of the storage, unless it is one.
func storageFault(op, name string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return &fault.Error{Op: op, Name: name, Kind: fault.KindOf(err), Err: err}
}
