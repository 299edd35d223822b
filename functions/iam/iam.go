// Package iam keeps who there is and who may do what. [Accounts] is the service
// of functions/iam/v1: users, service accounts and their keys, groups, roles,
// bindings, invitations, and tokens. A [Feed] has the decisions of sdk/iam/access
// know what the store of Accounts has. [Service] makes, lists and revokes, over
// REST, the older keys of administrators, projects and devices.
//
// A key's secret is in the answer to its making and nowhere else. Who may
// manage which of the older keys follows from two sets of permissions:
// "iam.keys." for all keys, which administrators have, and "iam.deviceKeys." for
// the keys of the devices of a project, which that project's own keys have too.
// So a project provisions its devices itself, and a project key that leaked can
// be revoked without having made another like itself.
//
// Nobody hands out more than he has; accounts.go has the rules. Everything may be
// used concurrently.
package iam

import (
	"log/slog"
	"net/http"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Options are what a Service needs besides its keyring.
type Options struct {
	// Authorize says whether the caller of r has the permission in the project,
	// or outside of projects if that is "". Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Devices, if not nil, must have a device before a key is made for it.
	Devices devicesv1.Reader
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Service serves the keys of a keyring.
type Service struct {
	keyring *iam.Keyring
	options Options
}

// NewService makes the service of a keyring, which the platform authenticates with.
func NewService(keyring *iam.Keyring, o Options) *Service {
	if o.Authorize == nil {
		o.Authorize = func(_ *http.Request, _, permission string) error {
			return &fault.Error{Op: "iam.Authorize", Kind: fault.Denied, Field: permission}
		}
	}
	return &Service{keyring: keyring, options: o}
}

// authorize says whether the caller may do verb with the keys of p.
func (s *Service) authorize(r *http.Request, p iam.Principal, verb string) error {
	if p.Kind == iam.Device {
		return s.options.Authorize(r, p.Project, "iam.deviceKeys."+verb)
	}
	return s.options.Authorize(r, p.Project, "iam.keys."+verb)
}
