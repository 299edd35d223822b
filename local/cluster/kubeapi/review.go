package kubeapi

import (
	"net/http"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// review answers a question that is posted as an object; nothing is stored.
type review func(s *Server, r *http.Request, o object.Object) error

// reviews are the kinds that are questions.
var reviews = map[object.Key]review{
	{Group: "authorization.k8s.io", Name: "SelfSubjectAccessReview"}: (*Server).mayI,
	{Group: "authentication.k8s.io", Name: "SelfSubjectReview"}:      (*Server).whoAmI,
}

// review answers a question that everybody may ask about itself.
func (s *Server) review(w http.ResponseWriter, r *http.Request, answer review) error {
	q, err := s.parse(r, strings.Split(strings.Trim(r.URL.Path, "/"), "/"))
	if err != nil {
		return err
	}
	if q.verb != "create" {
		return notAllowed(r)
	}
	o, err := s.body(r, q)
	if err != nil {
		return err
	}
	if err := answer(s, r, o); err != nil {
		return err
	}
	return s.write(w, http.StatusCreated, o)
}

// mayI answers `kubectl auth can-i`.
func (s *Server) mayI(r *http.Request, o object.Object) error {
	at := func(field string) string { return o.Text("spec", "resourceAttributes", field) }
	verb := at("verb")
	k := &object.Kind{Group: at("group"), Plural: at("resource")}
	switch {
	case verb == "patch":
		verb = "update"
	case verb == "deletecollection":
		verb = "delete"
	}
	allowed, reason := false, "there is no such resource here"
	for _, known := range s.kinds {
		if known.Group != k.Group || (known.Plural != k.Plural && k.Plural != "*") {
			continue
		}
		err := &fault.Error{Kind: fault.Denied}
		if s.Authorize != nil {
			asked := *known
			asked.Plural = k.Plural
			needs := permission(&asked, verb)
			if at("subresource") == "log" {
				needs = readLogs
			}
			got := s.Authorize(r, at("namespace"), needs)
			allowed = got == nil
			if got != nil && fault.KindOf(got) != fault.Denied && fault.KindOf(got) != fault.Unauthenticated {
				return got
			}
		}
		if reason = ""; !allowed {
			reason = err.Message()
		}
		break
	}
	o["status"] = map[string]any{"allowed": allowed, "reason": reason}
	return nil
}

// whoAmI answers `kubectl auth whoami`.
func (s *Server) whoAmI(r *http.Request, o object.Object) error {
	name, groups := "system:anonymous", []string(nil)
	if s.Who != nil {
		name, groups = s.Who(r.Context())
	}
	list := []any{}
	for _, g := range groups {
		list = append(list, g)
	}
	o["status"] = map[string]any{"userInfo": map[string]any{"username": name, "groups": list}}
	return nil
}
