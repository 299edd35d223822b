// Package access decides who may do what. Roles, role bindings and groups go
// into an [Engine]; out of it comes, for one subject, permission and resource,
// whether it is allowed and why.
//
// What no binding grants is denied. An Engine keeps everything in memory, so
// that a decision needs no other process: whoever keeps roles and bindings
// tells it of every change, and the change holds for every decision that begins
// after the call returned.
//
// # Scopes
//
// A binding holds in a scope: a project, an organization, a service, or "" for
// the whole platform. It reaches what is in the scope and below: an
// organization's projects and organizations too, unless it is disabled for
// child scopes. A resource is in the scope that its name begins with,
// "projects/p" of "projects/p/devices/d"; all others are in "".
//
// # Order
//
// Several bindings may allow the same. The one that a decision names is the
// nearest to the resource, then the first by name, so that the same policies
// always give the same reason.
//
// The model is that of SPEKTRA Edge's iam service: roles with grants that may
// be narrowed by sub-scopes and by fields of the resource and the request,
// bindings with parameters, conditions and groups in groups.
package access

import (
	"net/netip"
	"time"
)

// Members that stand for many.
const (
	// AllUsers is everybody, without credentials too.
	AllUsers = "allUsers"
	// AllAuthenticated is everybody with credentials.
	AllAuthenticated = "allAuthenticatedUsers"
)

// What a member begins with, before its name.
const (
	// User is a person: "user:ada@example.com".
	User = "user:"
	// ServiceAccount is a program: "serviceAccount:projects/p/serviceAccounts/s".
	ServiceAccount = "serviceAccount:"
	// Device is a device as itself: "device:projects/p/devices/d".
	Device = "device:"
	// Group is every member of a group: "group:projects/p/groups/g".
	Group = "group:"
	// Domain is every person with an address there: "domain:example.com".
	Domain = "domain:"
)

// Subject is who asks.
type Subject struct {
	// Member is who it is, as bindings name it; "" is anonymous.
	Member string
	// Attributes are what is known of it and may stand for a parameter.
	Attributes map[string]string
}

// Question asks whether the subject has a permission on a resource.
type Question struct {
	Subject Subject
	// Permission is "SERVICE.RESOURCES.VERB": "devices.devices.get".
	Permission string
	// Resource is the name of the resource, or of the parent of what is to be
	// created or listed; "" is the platform.
	Resource string
	// Fields and Request are the values of a field of the resource and of the
	// request. Nil means that they are not known, so that what depends on them
	// is not granted.
	Fields, Request func(path string) []string
	// AnyFields asks whether there can be a resource of which it is allowed:
	// conditions on its fields are taken to hold, whatever Fields tells.
	AnyFields bool
	// Address is where the request comes from, if that is known.
	Address netip.Addr
	// Time is when; zero is now.
	Time time.Time
}

// Decision is an answer. The fields beside Allowed say what allowed it.
type Decision struct {
	Allowed bool
	// Binding is the name of the binding, or "" for a role that the subject has
	// by what it is; Role is the role, Grant the index of its grant.
	Binding, Role string
	Grant         int
	// Member is the member of the binding that the subject is, and Scope where
	// the binding holds.
	Member, Scope string
}

// Implied is a role that a subject has by what it is.
type Implied struct{ Role, Scope string }

// Options configure an Engine.
type Options struct {
	// Implied are the roles of a subject that no binding says; nil is none. It
	// must always answer the same for a member.
	Implied func(member string) []Implied
	// MaxSubjects bounds the subjects whose bindings are found quickly the next
	// time; 0 is 100,000, at some hundred bytes each.
	MaxSubjects int
}
