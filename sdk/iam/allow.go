package iam

import (
	"fmt"
	"net/http"
	"strings"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// Publish is the permission to post events.
const Publish = "events.publish"

// keyPermissions begins the permissions to manage the keys of administrators
// and projects. Those for the keys of devices begin with "iam.deviceKeys.", so
// that a project can provision its devices itself: a leaked project key can
// make device keys, which publish and do nothing else, but it cannot make its
// own successor.
const keyPermissions = "iam.keys."

// grant is a row of the table: what one kind of principal may do.
type grant struct {
	// anywhere grants it in every project and outside of projects; otherwise
	// it is granted in the principal's own project.
	anywhere bool
	// only, if not "", is the one permission that is granted. Otherwise all
	// are, but those that begin with except, if that is not "".
	only, except string
}

// grants is the table. A kind without a row may do nothing.
var grants = map[Kind]grant{
	Admin:   {anywhere: true},
	Project: {except: keyPermissions},
	Device:  {only: Publish},
}

// allows reports whether the row grants the permission.
func (g grant) allows(permission string) bool {
	switch {
	case g.only != "":
		return permission == g.only
	case g.except != "":
		return !strings.HasPrefix(permission, g.except)
	}
	return true
}

// Allow says whether p has the permission in the project (an id, or "" for
// what belongs to no project). A denial is a Denied fault whose Field is the
// missing permission; to Anonymous it is an Unauthenticated fault, since
// credentials could help.
func Allow(p Principal, project, permission string) error {
	g, ok := grants[p.Kind]
	inside := g.anywhere || project != "" && p.Project == project
	if ok && inside && g.allows(permission) {
		return nil
	}
	return denial(p, project, permission)
}

// Authorize is Allow for the principal of a request, in the form that services
// take.
func Authorize(r *http.Request, project, permission string) error {
	return Allow(PrincipalOf(r.Context()), project, permission)
}

// MayPublish says whether p may post an event with that source. The device is
// the name of the registered device that the event's external name resolved
// to, "" if it has none or did not resolve.
//
// A source of ours and a device that was resolved need the permission
// [Publish] in their project, and a source of ours in no project is the
// platform's own. A device posts as itself only: its source is its own name,
// or else a source of somebody's and an external name that resolves to it.
func MayPublish(p Principal, source, device string) error {
	name, ours := strings.CutPrefix(source, event.Authority)
	if ours {
		if err := Allow(p, resource.Name(name).Project(), Publish); err != nil {
			return err
		}
	}
	if device != "" {
		if err := Allow(p, resource.Name(device).Project(), Publish); err != nil {
			return err
		}
	}
	if p.Kind != Device {
		return Allow(p, p.Project, Publish)
	}
	own := string(p.Device)
	if ours && name == own && (device == "" || device == own) || !ours && device == own {
		return nil
	}
	return &fault.Error{
		Op: "iam.MayPublish", Name: own, Kind: fault.Denied, Reason: "SOURCE_NOT_OWN", Field: "source",
		Err: fmt.Errorf("a device posts as itself: the source must be %s%s, or an external name must resolve to it", event.Authority, own),
	}
}

// denial is the fault of a permission that p lacks.
func denial(p Principal, project, permission string) error {
	where := "outside of projects"
	if project != "" {
		where = "in project " + project
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
