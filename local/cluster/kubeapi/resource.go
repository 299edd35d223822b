package kubeapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"sigs.k8s.io/yaml"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// body reads the object in the body of a request.
func (s *Server) body(r *http.Request, q *request) (object.Object, error) {
	data, media, err := readBody(r)
	if err != nil {
		return nil, err
	}
	o, err := decode(data, media)
	if err != nil {
		return nil, err
	}
	return o, q.complete(o)
}

// decode reads an object of a media type.
func decode(data []byte, media string) (o object.Object, err error) {
	switch media {
	case "", "application/json":
	case protobufMedia:
		return parseProtobuf(data)
	case "application/yaml":
		if data, err = yaml.YAMLToJSONStrict(data); err != nil {
			return nil, badRequestf("the object is no YAML: %w", err)
		}
	default:
		return nil, &fault.Error{Op: "kubeapi", Kind: fault.Unsupported, Err: fmt.Errorf("objects are read as application/json or application/yaml, not as %s", media)}
	}
	if o, err = object.Parse(data); err != nil {
		return nil, badRequestf("the object is no JSON: %w", err)
	}
	return o, nil
}

// readBody is the body of a request and its media type.
func readBody(r *http.Request) ([]byte, string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" {
		return nil, "", badRequestf("the content type: %w", err)
	}
	data, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, "", &fault.Error{Op: "kubeapi", Kind: fault.TooLarge, Err: fmt.Errorf("the body is over %d bytes", large.Limit)}
	}
	if err != nil {
		return nil, "", badRequestf("the body did not arrive whole: %w", err)
	}
	return data, media, nil
}

// complete fills in what the path says and refuses what it contradicts.
func (q *request) complete(o object.Object) error {
	for _, f := range []struct {
		name, path string
		at         []string
	}{
		{"apiVersion", q.kind.APIVersion(), []string{"apiVersion"}},
		{"kind", q.kind.Name, []string{"kind"}},
		{"namespace", q.namespace, []string{"metadata", "namespace"}},
		{"name", q.name, []string{"metadata", "name"}},
	} {
		switch is := o.Text(f.at...); {
		case f.path == "" || is == f.path:
		case is == "":
			o.Set(f.path, f.at...)
		default:
			return badRequestf("the %s of the provided object (%q) does not match the %s sent on the request (%q)", f.name, is, f.name, f.path)
		}
	}
	return nil
}

// dryRun reports whether nothing is to be written.
func dryRun(r *http.Request) bool { return r.URL.Query().Get("dryRun") == "All" }

// reply is the answer to a request: a status, and an object of its kind or
// something else.
type reply struct {
	code   int
	object object.Object
	other  any
}

// answer writes a reply, an object as a table if the client wants one.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q *request, a reply) error {
	switch {
	case a.object == nil:
		return s.write(w, a.code, a.other)
	case asTable(r):
		return s.write(w, a.code, table(r, q.kind, []object.Object{a.object}, s.Store.Version()))
	}
	return s.write(w, a.code, a.object)
}

// get answers one object.
func (s *Server) get(r *http.Request, q *request) (reply, error) {
	o, err := s.find(r, q)
	return reply{code: http.StatusOK, object: o}, err
}

// find is the object of a request.
func (s *Server) find(r *http.Request, q *request) (object.Object, error) {
	if q.kind.Key() == namespaceKey {
		return s.namespace(r, q.name)
	}
	o, err := s.Store.Get(q.kind.Key(), q.namespace, q.name)
	if fault.KindOf(err) != fault.NotFound {
		return o, err
	}
	switch key := q.kind.Key(); {
	case key == serviceAccountKey && q.name == defaultAccount:
		return account(q.kind, q.namespace), nil
	case key == secretKey && q.name == pullSecret:
		if own, ok := pulling(r, q.kind, q.namespace); ok {
			return own, nil
		}
	}
	return o, err
}

// list answers the objects of a kind.
func (s *Server) list(r *http.Request, q *request) (reply, error) {
	items, version, err := s.selected(r, q)
	if err != nil {
		return reply{}, err
	}
	if asTable(r) {
		return reply{code: http.StatusOK, other: table(r, q.kind, items, version)}, nil
	}
	return q.all(items, version), nil
}

// all is the answer of a list.
func (q *request) all(items []object.Object, version int64) reply {
	return reply{code: http.StatusOK, other: map[string]any{
		"kind": q.kind.Name + "List", "apiVersion": q.kind.APIVersion(),
		"metadata": map[string]any{"resourceVersion": strconv.FormatInt(version, 10)}, "items": items,
	}}
}

// selected are the objects that a request selects, and their version.
func (s *Server) selected(r *http.Request, q *request) ([]object.Object, int64, error) {
	if q.kind.Key() == namespaceKey {
		items, err := s.namespaces(r, q.selector)
		return items, s.Store.Version(), err
	}
	items, version := s.Store.List(object.Query{Kind: q.kind.Key(), Namespace: q.namespace, Selector: q.selector})
	return items, version, nil
}

// admit completes and checks what a client wants to write.
func (s *Server) admit(r *http.Request, q *request, o, old object.Object) error {
	if q.kind.Admit == nil || q.sub == "status" {
		return nil
	}
	return q.kind.Admit(r.Context(), o, old)
}

// create stores a new object.
func (s *Server) create(r *http.Request, q *request) (reply, error) {
	o, err := s.body(r, q)
	if err != nil {
		return reply{}, err
	}
	if err := s.admit(r, q, o, nil); err != nil {
		return reply{}, err
	}
	if q.kind.Status {
		delete(o, "status")
	}
	if !dryRun(r) {
		o, err = s.Store.Create(r.Context(), o)
	}
	return reply{code: http.StatusCreated, object: o}, err
}

// update replaces an object or its status.
func (s *Server) update(r *http.Request, q *request) (reply, error) {
	o, err := s.body(r, q)
	if err != nil {
		return reply{}, err
	}
	old, err := s.Store.Get(q.kind.Key(), q.namespace, q.name)
	if err != nil {
		return reply{}, err
	}
	return s.replace(r, q, o, old)
}

// replace stores o in the place of old.
func (s *Server) replace(r *http.Request, q *request, o, old object.Object) (reply, error) {
	if err := s.admit(r, q, o, old); err != nil {
		return reply{}, err
	}
	var err error
	switch {
	case dryRun(r):
	case q.sub == "status":
		o, err = s.Store.UpdateStatus(r.Context(), o)
	default:
		o, err = s.Store.Update(r.Context(), o)
	}
	return reply{code: http.StatusOK, object: o}, err
}

// attempts is how often a patch is applied anew when the object changed
// meanwhile.
const attempts = 5

// patch changes an object. One that names no resource version is applied again
// to what the object has become.
func (s *Server) patch(r *http.Request, q *request) (a reply, err error) {
	data, media, err := readBody(r)
	if err != nil {
		return reply{}, err
	}
	apply, err := patcher(media, data)
	if err != nil {
		return reply{}, err
	}
	for range attempts {
		var old, o object.Object
		if old, err = s.Store.Get(q.kind.Key(), q.namespace, q.name); err != nil {
			return reply{}, err
		}
		if o, err = apply(old.Clone()); err != nil {
			return reply{}, err
		}
		if err = q.complete(o); err != nil {
			return reply{}, err
		}
		changed := o.ResourceVersion() != old.ResourceVersion() // the patch names one
		if a, err = s.replace(r, q, o, old); fault.KindOf(err) != fault.Conflict || changed {
			return a, err
		}
	}
	return reply{}, err
}

// deletion is the body of a deletion.
type deletion struct {
	Preconditions struct {
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"preconditions"`
	DryRun []string `json:"dryRun"`
	// PropagationPolicy may ask that what is owned stays.
	PropagationPolicy string `json:"propagationPolicy"`
}

// options reads the body of a deletion, which may be empty.
func (s *Server) options(r *http.Request) (deletion, error) {
	var d deletion
	data, media, err := readBody(r)
	if err != nil || len(data) == 0 {
		return d, err
	}
	o, err := decode(data, media)
	if err != nil {
		return d, err
	}
	if err := o.Into(&d); err != nil {
		return d, badRequestf("the options of the deletion: %w", err)
	}
	if d.PropagationPolicy == "Orphan" || r.URL.Query().Get("propagationPolicy") == "Orphan" {
		return d, &fault.Error{Op: "kubeapi", Kind: fault.Invalid, Field: "propagationPolicy", Err: errors.New("what an object owns goes with it here: the policy Orphan is not available")}
	}
	return d, nil
}

// delete removes one object.
func (s *Server) delete(r *http.Request, q *request) (reply, error) {
	d, err := s.options(r)
	if err != nil {
		return reply{}, err
	}
	if dryRun(r) || len(d.DryRun) > 0 {
		return s.get(r, q)
	}
	o, err := s.Store.Delete(r.Context(), q.kind.Key(), q.namespace, q.name, object.Preconditions{UID: d.Preconditions.UID, ResourceVersion: d.Preconditions.ResourceVersion})
	if err != nil || o.Deleting() {
		return reply{code: http.StatusOK, object: o}, err
	}
	return reply{code: http.StatusOK, other: map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Success",
		"details": map[string]any{"name": o.Name(), "group": q.kind.Group, "kind": q.kind.Plural, "uid": o.UID()},
	}}, nil
}

// deleteAll removes the objects that the request selects, and answers them.
func (s *Server) deleteAll(r *http.Request, q *request) (reply, error) {
	if _, err := s.options(r); err != nil {
		return reply{}, err
	}
	items, version, err := s.selected(r, q)
	if err != nil {
		return reply{}, err
	}
	for _, o := range items {
		if dryRun(r) {
			break
		}
		_, err := s.Store.Delete(r.Context(), q.kind.Key(), o.Namespace(), o.Name(), object.Preconditions{UID: o.UID()})
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return reply{}, err
		}
	}
	return q.all(items, version), nil
}
