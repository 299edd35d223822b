// Package iam says who calls and what he may do: a [Principal] in the context,
// put there by the [Authenticate] middleware, and one table of permissions in
// [Allow]. API keys are what principals prove themselves with: a [Keyring]
// makes, revokes and checks them over a [Keys] store.
//
// What no row of the table grants is denied. A secret leaves this package
// once, as the result of making its key: it is stored hashed, and no error or
// log line has it.
//
// A Keyring caches keys and trusts its cache until a key is revoked through
// it, so one process at a time may write the keys of a store. Everything here
// may be used concurrently.
package iam

import (
	"context"
	"errors"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// Kind is what a principal is.
type Kind uint8

// The kinds of principals. The zero value is the one that may do nothing.
const (
	// Anonymous came without credentials.
	Anonymous Kind = iota
	// Admin is an administrator of the whole platform.
	Admin
	// Project acts for a project.
	Project
	// Device is a device that speaks for itself.
	Device
)

// adminName is the name of the principal of every administrator's key.
const adminName = "admin"

// Principal is who makes a request. Principals come from [ParsePrincipal] or
// an [Authenticator], which keep the fields in agreement; the zero value is
// Anonymous.
type Principal struct {
	Kind Kind
	// Name is "admin", "projects/P", "projects/P/devices/D", or "" for
	// Anonymous.
	Name string
	// Project is the project's id, of a Project or Device.
	Project string
	// Device is the device's name, of a Device.
	Device resource.Name
	// KeyID is the id of the key that the principal proved itself with.
	KeyID string
}

// ParsePrincipal is the principal of that name: "admin", "projects/P" or
// "projects/P/devices/D". Any other name is an Invalid fault of the field
// "principal".
func ParsePrincipal(name string) (Principal, error) {
	if name == adminName {
		return Principal{Kind: Admin, Name: name}, nil
	}
	if n, err := resource.Project.Parse(name); err == nil {
		return Principal{Kind: Project, Name: name, Project: n.ID()}, nil
	}
	n, err := resource.ParseDevice(name)
	if err != nil {
		return Principal{}, &fault.Error{
			Op: "iam.ParsePrincipal", Kind: fault.Invalid, Reason: "INVALID_PRINCIPAL", Field: "principal",
			Err: fmt.Errorf(`want "admin", "projects/P" or "projects/P/devices/D": %w`, errors.Unwrap(err)),
		}
	}
	return Principal{Kind: Device, Name: name, Project: n.Project(), Device: n}, nil
}

// principalKey finds the Principal of a context.
type principalKey struct{}

// WithPrincipal returns a context of a request by p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf is who makes the request of ctx; Anonymous when nobody said.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Authenticator tells who calls.
type Authenticator interface {
	// Authenticate returns the principal that the value of an Authorization
	// header proves. An empty value is Anonymous. One that proves nothing, be
	// it malformed, unknown, revoked or expired, is an Unauthenticated fault
	// without the credentials in it.
	Authenticate(ctx context.Context, authorization string) (Principal, error)
}
