package iam

import (
	"fmt"
	"net/http"
	"strings"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// Allow says whether p has the permission in the project (an id, or "" for what
// belongs to no project) by what it is alone: without any binding, as in a
// process that knows of none. The platform asks an [Authorizer]. A denial is a
// Denied fault whose Field is the missing permission; to Anonymous it is an
// Unauthenticated fault, since credentials could help.
func Allow(p Principal, project, permission string) error {
	scope := scopeOf(project)
	for _, has := range Implied(p.Member()) {
		if has.Scope != "" && has.Scope != string(scope) {
			continue
		}
		roles := BuiltIn()
		for i := range roles {
			if roles[i].Name == has.Role && roles[i].Permits(permission) {
				return nil
			}
		}
	}
	return denial(p, scope, permission)
}

// scopeOf is the name of the project, "" for none.
func scopeOf(project string) resource.Name {
	if project == "" {
		return ""
	}
	return resource.Name("projects/" + project)
}

// Authorize is Allow for the principal of a request, in the form that services
// take.
func Authorize(r *http.Request, project, permission string) error {
	return Allow(PrincipalOf(r.Context()), project, permission)
}

// MayPublish says whether p may post an event with that source, by [Allow]. The
// device is the name of the registered device that the event's external name
// resolved to, "" if it has none or did not resolve.
func MayPublish(p Principal, source, device string) error {
	return MayPublishBy(p, source, device, func(project string) error { return Allow(p, project, Publish) })
}

// MayPublishBy is [MayPublish] where allow says whether p has the permission
// [Publish] in a project, "" for none. A source of ours and a device that was
// resolved need the permission [Publish] in their project, and a source of ours
// in no project is the platform's own. A device posts as itself only: its
// source is its own name, or else a source of somebody's and an external name
// that resolves to it.
func MayPublishBy(p Principal, source, device string, allow func(project string) error) error {
	name, ours := strings.CutPrefix(source, event.Authority)
	var projects []string
	if ours {
		projects = append(projects, resource.Name(name).Project())
	}
	if device != "" {
		projects = append(projects, resource.Name(device).Project())
	}
	if account := p.Kind == User || p.Kind == ServiceAccount; p.Kind != Device && (!account || !ours) {
		projects = append(projects, p.Project)
	}
	for _, project := range projects {
		if err := allow(project); err != nil {
			return err
		}
	}
	own := string(p.Device)
	if p.Kind != Device || ours && name == own && (device == "" || device == own) || !ours && device == own {
		return nil
	}
	return &fault.Error{
		Op: "iam.MayPublish", Name: own, Kind: fault.Denied, Reason: "SOURCE_NOT_OWN", Field: "source",
		Err: fmt.Errorf("a device posts as itself: the source must be %s%s, or an external name must resolve to it", event.Authority, own),
	}
}

// denial is the fault of a permission that p lacks on a resource.
func denial(p Principal, name resource.Name, permission string) error {
	where := "outside of projects"
	switch {
	case name == scopeOf(name.Project()) && name != "":
		where = "in project " + name.Project()
	case name != "":
		where = "on " + string(name)
	}
	if p.Kind == Anonymous {
		return &fault.Error{
			Op: "iam.Allow", Kind: fault.Unauthenticated, Reason: "UNAUTHENTICATED", Field: permission,
			Err: fmt.Errorf("the permission %s %s needs credentials: Authorization: Bearer KEY", permission, where),
		}
	}
	return &fault.Error{
		Op: "iam.Allow", Name: p.Name, Kind: fault.Denied, Reason: "PERMISSION_DENIED", Field: permission,
		Err: fmt.Errorf("%s lacks the permission %s %s", p.Name, permission, where),
	}
}
