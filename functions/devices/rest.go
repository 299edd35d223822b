package devices

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/rest"
)

// Routes adds the service's methods to r (google.aip.dev/131 to 136). Each
// needs the permission devices.COLLECTION.METHOD:
//
//	POST   /v1/projects/P/devices?deviceId=D       create; or with the name in the body
//	GET    /v1/projects/P/devices?pageSize=&pageToken=   list
//	GET    /v1/projects/P/devices/D                get
//	PATCH  /v1/projects/P/devices/D?updateMask=    update
//	DELETE /v1/projects/P/devices/D                delete
//	POST   /v1/projects/P/devices/D:alias          update; {"alias": {"network", "key", "value"}}
//	POST   /v1/projects/P/devices/D:removeAlias    update; the same
//	GET    /v1/projects/P/devices:resolve?network=&key=&value=   get
//
// The first five are there for blueprints too.
func (s *Service) Routes(r chi.Router) {
	mount(r, s, s.devices, s.deleteDevice)
	mount(r, s, s.blueprints, s.blueprints.remove)
	r.Get("/v1/projects/{project}/devices:resolve", s.method("devices.devices.get", s.resolve))
	r.Post("/v1/projects/{project}/devices/{id}:alias", s.method("devices.devices.update", s.addAlias))
	r.Post("/v1/projects/{project}/devices/{id}:removeAlias", s.method("devices.devices.update", s.removeAlias))
}

// mount adds the standard methods of a collection to r.
func mount[T any](r chi.Router, s *Service, c *collection[T], remove func(context.Context, string) error) {
	base := "/v1/projects/{project}/" + c.kind.pattern.Collection()
	permission := "devices." + c.kind.pattern.Collection() + "."
	r.Post(base, s.method(permission+"create", c.serveCreate))
	r.Get(base, s.method(permission+"list", c.serveList))
	r.Get(base+"/{id}", s.method(permission+"get", func(r *http.Request) (any, error) {
		name, err := c.target(r)
		if err != nil {
			return nil, err
		}
		return c.read(r.Context(), lookup{name: name})
	}))
	r.Patch(base+"/{id}", s.method(permission+"update", c.serveUpdate))
	r.Delete(base+"/{id}", s.method(permission+"delete", func(r *http.Request) (any, error) {
		name, err := c.target(r)
		if err != nil {
			return nil, err
		}
		return rest.Empty{}, remove(r.Context(), name)
	}))
}

// method is the handler of a method that needs the permission in the project of
// the URL.
func (s *Service) method(permission string, h func(*http.Request) (any, error)) http.HandlerFunc {
	return rest.Handler(s.options.Logger, func(r *http.Request) (any, error) {
		if err := s.options.Authorize(r, chi.URLParam(r, "project"), permission); err != nil {
			return nil, err
		}
		return h(r)
	})
}

// target is the name of the resource that the URL is of.
func (c *collection[T]) target(r *http.Request) (string, error) {
	n, err := c.kind.pattern.Format(chi.URLParam(r, "project"), chi.URLParam(r, "id"))
	return string(n), err
}

// serveCreate creates the resource of the body, whose id is a parameter or part
// of the name there.
func (c *collection[T]) serveCreate(r *http.Request) (any, error) {
	var v T
	if err := rest.Decode(r, &v); err != nil {
		return nil, err
	}
	project, param := chi.URLParam(r, "project"), c.kind.singular+"Id"
	name := c.kind.header(&v).name
	id := r.URL.Query().Get(param)
	if id == "" && *name == "" {
		return nil, invalid(param, fmt.Errorf("say which id the %s gets, as the parameter %s or in the body's name", c.kind.singular, param))
	}
	if id == "" {
		id = resource.Name(*name).ID()
	}
	want, err := c.kind.pattern.Format(project, id)
	if err != nil {
		return nil, err
	}
	if *name != "" && *name != string(want) {
		return nil, invalid("name", fmt.Errorf("the body's name is not %s", want))
	}
	*name = string(want)
	return c.create(r.Context(), v)
}

// serveList lists a page of the project's resources by name.
func (c *collection[T]) serveList(r *http.Request) (any, error) {
	project, err := resource.Project.Format(chi.URLParam(r, "project"))
	if err != nil {
		return nil, err
	}
	page, err := rest.PageOf(r)
	if err != nil {
		return nil, err
	}
	if page.After != "" {
		if n, err := c.kind.pattern.Parse(page.After); err != nil || n.Project() != project.ID() {
			return nil, rest.InvalidToken()
		}
	}
	items, err := c.list(r.Context(), project.ID(), page.After, page.Size+1)
	if err != nil {
		return nil, err
	}
	items, next := rest.Cut(page, items, func(v *T) string { return *c.kind.header(v).name })
	return map[string]any{c.kind.pattern.Collection(): items, "nextPageToken": next}, nil
}

// serveUpdate sets the fields of the mask to those of the body.
func (c *collection[T]) serveUpdate(r *http.Request) (any, error) {
	target, err := c.target(r)
	if err != nil {
		return nil, err
	}
	var src T
	if err := rest.Decode(r, &src); err != nil {
		return nil, err
	}
	if name := *c.kind.header(&src).name; name != "" && name != target {
		return nil, invalid("name", fmt.Errorf("the body's name is not %s", target))
	}
	mutable := c.kind.fieldNames(func(field[T]) bool { return true })
	populated := c.kind.fieldNames(func(f field[T]) bool { return !f.empty(&src) })
	mask, err := rest.Mask(r, mutable, populated)
	if err != nil {
		return nil, err
	}
	return c.update(r.Context(), target, func(v *T) error {
		for _, f := range c.kind.fields {
			if slices.Contains(mask, f.name) {
				f.set(v, &src)
			}
		}
		return nil
	})
}

// deleteDevice takes a device's credentials from it and deletes it.
func (s *Service) deleteDevice(ctx context.Context, name string) error {
	if _, err := s.Device(ctx, name); err != nil {
		return err
	}
	if s.options.Deleting != nil {
		if err := s.options.Deleting(ctx, name); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return s.devices.remove(ctx, name)
}

// resolve returns the device that has the alias of the parameters.
func (s *Service) resolve(r *http.Request) (any, error) {
	project, err := resource.Project.Format(chi.URLParam(r, "project"))
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	a := devicesv1.Alias{Network: q.Get("network"), Key: q.Get("key"), Value: q.Get("value")}
	if err := a.Check(); err != nil {
		return nil, err
	}
	return s.Resolve(r.Context(), project.ID(), a)
}

// addAlias gives the device an alias. One that it has already is no error, so
// that the request can be repeated.
func (s *Service) addAlias(r *http.Request) (any, error) {
	return s.editAliases(r, func(d *devicesv1.Device, a devicesv1.Alias) error {
		if !slices.Contains(d.Aliases, a) {
			d.Aliases = append(d.Aliases, a)
		}
		return nil
	})
}

// removeAlias takes an alias from the device that has it.
func (s *Service) removeAlias(r *http.Request) (any, error) {
	return s.editAliases(r, func(d *devicesv1.Device, a devicesv1.Alias) error {
		i := slices.Index(d.Aliases, a)
		if i < 0 {
			return &fault.Error{
				Op: "devices.RemoveAlias", Name: d.Name, Kind: fault.NotFound, Field: "alias",
				Err: fmt.Errorf("%s does not have the alias %s", d.Name, a),
			}
		}
		d.Aliases = slices.Delete(d.Aliases, i, i+1)
		return nil
	})
}

// editAliases updates the device of the URL by the alias of the body.
func (s *Service) editAliases(r *http.Request, edit func(*devicesv1.Device, devicesv1.Alias) error) (any, error) {
	name, err := s.devices.target(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Alias devicesv1.Alias `json:"alias"`
	}
	if err := rest.Decode(r, &body); err != nil {
		return nil, err
	}
	if err := body.Alias.Check(); err != nil {
		return nil, err
	}
	return s.devices.update(r.Context(), name, func(d *devicesv1.Device) error { return edit(d, body.Alias) })
}

// invalid is the fault of a request whose field is wrong.
func invalid(field string, err error) error {
	return &fault.Error{Op: "devices.Request", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: err}
}
