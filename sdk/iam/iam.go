// Package iam says who calls and what he may do: a [Principal] in the context,
// put there by the [Authenticate] middleware, and an [Authorizer] that decides
// by the roles of sdk/iam/access. Principals prove themselves with API keys,
// which a [Keyring] makes, revokes and checks over a [Keys] store, and users
// and service accounts with what an [Accounts] knows of them.
//
// What nothing grants is denied. A secret leaves this package once, as the
// result of making its key: it is stored hashed, and no error or log line has
// it.
//
// A Keyring caches keys and trusts its cache until a key is revoked through
// it, so one process at a time may write the keys of a store. Everything here
// may be used concurrently.
package iam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam/access"
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
	// User is a person.
	User
	// ServiceAccount is a program that has an account.
	ServiceAccount
)

// adminName is the name of the principal of every administrator's key.
const adminName = "admin"

// Principal is who makes a request. Principals come from [ParsePrincipal] or
// an [Authenticator], which keep the fields in agreement; the zero value is
// Anonymous.
type Principal struct {
	Kind Kind
	// Name is "admin", "projects/P", "projects/P/devices/D", "users/U",
	// "projects/P/serviceAccounts/S", or "" for Anonymous.
	Name string
	// Project is the project's id, of a Project, Device or ServiceAccount.
	Project string
	// Device is the device's name, of a Device.
	Device resource.Name
	// Email is the address of a User.
	Email string
	// KeyID is the id of the key that the principal proved itself with.
	KeyID string
}

// The patterns of the names of accounts.
const (
	userPattern           resource.Pattern = "users/{user}"
	serviceAccountPattern resource.Pattern = "projects/{project}/serviceAccounts/{service_account}"
)

// Member is whom roles and bindings call the principal: "admin", "project:P",
// or as sdk/iam/access has it; "" for Anonymous.
func (p Principal) Member() string {
	switch p.Kind {
	case Admin:
		return adminName
	case Project:
		return projectMember + p.Project
	case Device:
		return access.Device + string(p.Device)
	case User:
		if p.Email != "" {
			return access.User + p.Email
		}
	case ServiceAccount:
		return access.ServiceAccount + p.Name
	case Anonymous:
	}
	return ""
}

// ParsePrincipal is the principal of that name: "admin", "projects/P",
// "projects/P/devices/D", "users/U" or "projects/P/serviceAccounts/S". Any other
// name is an Invalid fault of the field "principal". The address of a user is
// not known by his name: he has no roles.
func ParsePrincipal(name string) (Principal, error) {
	if name == adminName {
		return Principal{Kind: Admin, Name: name}, nil
	}
	if n, err := resource.Project.Parse(name); err == nil {
		return Principal{Kind: Project, Name: name, Project: n.ID()}, nil
	}
	if _, err := userPattern.Parse(name); err == nil {
		return Principal{Kind: User, Name: name}, nil
	}
	if n, err := serviceAccountPattern.Parse(name); err == nil {
		return Principal{Kind: ServiceAccount, Name: name, Project: n.Project()}, nil
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

// addressKey finds the address of a context.
type addressKey struct{}

// WithAddress returns a context of a request that came from an address.
func WithAddress(ctx context.Context, a netip.Addr) context.Context {
	return context.WithValue(ctx, addressKey{}, a)
}

// AddressOf is where the request of ctx came from; not valid when nobody said.
func AddressOf(ctx context.Context) netip.Addr {
	a, _ := ctx.Value(addressKey{}).(netip.Addr)
	return a
}

// Authenticator tells who calls.
type Authenticator interface {
	// Authenticate returns the principal that the value of an Authorization
	// header proves. An empty value is Anonymous. One that proves nothing, be
	// it malformed, unknown, revoked or expired, is an Unauthenticated fault
	// without the credentials in it.
	Authenticate(ctx context.Context, authorization string) (Principal, error)
}
