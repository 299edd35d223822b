package kubeapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// errNoSuch is what a path is answered that nothing is at, in Kubernetes' words.
var errNoSuch = errors.New("the server could not find the requested resource")

// request is a request about objects of a kind.
type request struct {
	kind *object.Kind
	// namespace is "" for all, or for a kind without.
	namespace, name string
	// sub is "status" or "log", or "" for the object itself.
	sub string
	// verb is as in Kubernetes' audit: get, list, watch, create, update, patch,
	// delete, deletecollection.
	verb string
	// selector is that of a list or a watch.
	selector object.Selector
}

// parse reads the path and the parameters of a request about objects:
//
//	/api/v1[/namespaces/NS]/PLURAL[/NAME[/SUB]]
//	/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME[/SUB]]
func (s *Server) parse(r *http.Request, parts []string) (*request, error) {
	var group string
	rest := parts[1:]
	if parts[0] == "apis" {
		group, rest = rest[0], rest[1:]
	}
	if len(rest) < 2 {
		return nil, missing(r)
	}
	version, rest := rest[0], rest[1:]
	q := &request{}
	// "/namespaces/NS" itself is an object; what follows it is in it.
	if len(rest) > 2 && rest[0] == "namespaces" && (group != "" || rest[2] != "status") {
		q.namespace, rest = rest[1], rest[2:]
	}
	i := slices.IndexFunc(s.kinds, func(k *object.Kind) bool {
		return k.Group == group && k.Version == version && k.Plural == rest[0]
	})
	if i < 0 {
		return nil, missing(r)
	}
	q.kind = s.kinds[i]
	if len(rest) > 1 {
		q.name = rest[1]
	}
	if len(rest) > 2 {
		q.sub = rest[2]
	}
	known := q.sub == "" || (q.sub == "status" && q.kind.Status) || (q.sub == "log" && q.kind.Plural == "pods" && group == "")
	if len(rest) > 3 || !known || (q.kind.Cluster && q.namespace != "") {
		return nil, missing(r)
	}
	return q, q.read(r)
}

// missing is the error for a path that nothing is at.
func missing(r *http.Request) error {
	return &fault.Error{Op: "kubeapi", Name: r.URL.Path, Kind: fault.NotFound, Err: errNoSuch}
}

// notAllowed is the error for a method that a path does not take.
func notAllowed(r *http.Request) error {
	return &fault.Error{Op: "kubeapi", Kind: fault.Invalid, Reason: methodNotAllowed, Err: fmt.Errorf("the server does not allow this method on the requested resource: %s", r.Method)}
}

// methodNotAllowed is the reason of notAllowed.
const methodNotAllowed = "METHOD_NOT_ALLOWED"

// read reads the verb and the parameters.
func (q *request) read(r *http.Request) error {
	p := r.URL.Query()
	one := q.name != ""
	switch {
	case r.Method == http.MethodGet && (p.Get("watch") == "true" || p.Get("watch") == "1"):
		q.verb = "watch"
	case r.Method == http.MethodGet && !one:
		q.verb = "list"
	case r.Method == http.MethodGet:
		q.verb = "get"
	case q.kind.ReadOnly || q.sub == "log":
		return notAllowed(r)
	case r.Method == http.MethodPost && !one:
		q.verb = "create"
	case r.Method == http.MethodPut && one:
		q.verb = "update"
	case r.Method == http.MethodPatch && one:
		q.verb = "patch"
	case r.Method == http.MethodDelete && one && q.sub == "":
		q.verb = "delete"
	case r.Method == http.MethodDelete && !one:
		q.verb = "deletecollection"
	default:
		return notAllowed(r)
	}
	if !q.kind.Cluster && q.namespace == "" && !slices.Contains([]string{"list", "watch"}, q.verb) {
		return missing(r)
	}
	fields := p.Get("fieldSelector")
	if one && q.verb == "watch" { // of one object, as clients of old do
		fields = strings.TrimPrefix(fields+",metadata.name="+q.name, ",")
	}
	var err error
	q.selector, err = object.ParseSelector(p.Get("labelSelector"), fields)
	return err
}

// permission is what the request needs.
func (q *request) permission() string {
	verb := q.verb
	switch {
	case q.sub == "log":
		return readLogs
	case verb == "patch":
		verb = "update"
	case verb == "deletecollection":
		verb = "delete"
	}
	return permission(q.kind, verb)
}

// permission is that for a verb on objects of a kind. What is sealed is not
// read by who may read everything.
func permission(k *object.Kind, verb string) string {
	if k.Sealed && (verb == "get" || verb == "list" || verb == "watch") {
		verb = "access"
	}
	word, _, _ := strings.Cut(k.Group, ".")
	if !strings.HasSuffix(k.Group, ".knative.dev") {
		word = "cluster"
	}
	return word + "." + k.Plural + "." + verb
}

// readLogs is the permission to read what a function printed.
const readLogs = "cluster.podLogs.get"

// Permissions are all that there are for kinds.
func Permissions(kinds []*object.Kind) []string {
	var out []string
	for _, k := range kinds {
		if reviews[k.Key()] != nil {
			continue
		}
		verbs := []string{"get", "list", "watch", "create", "update", "delete"}
		if k.ReadOnly {
			verbs = verbs[:3]
		}
		for _, v := range verbs {
			out = append(out, permission(k, v))
		}
		if k.Group == "" && k.Plural == "pods" {
			out = append(out, readLogs)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
