package access

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// Role is a set of grants.
type Role struct {
	// Name is its resource name: "services/iam.selvedge.dev/roles/viewer".
	Name   string
	Grants []Grant
	// Params are the parameters that a binding to it must give.
	Params []string
}

// Grant is permissions on some of the resources in a scope.
type Grant struct {
	// SubScope narrows it to a resource and what is below it: a name relative
	// to the scope of the resource, of which a segment may be a parameter in
	// braces or "-" for any: "devices/{device}". "" does not narrow.
	SubScope string
	// Permissions are exact, or end in ".*" for all that begin so, or are "*".
	Permissions []string
	// Except are what of Permissions is not granted, in the same form.
	Except []string
	// Fields and Request narrow it to resources and requests of which every
	// condition holds.
	Fields, Request []FieldCondition
}

// FieldCondition says that a field has a value.
type FieldCondition struct {
	// Path is that of the field. Of a repeated field one value has to fit.
	Path string
	// Values are those that it may have; Param is a parameter whose value it
	// may have.
	Values []string
	Param  string
}

// Param is the value of a parameter.
type Param struct {
	// Value is the value, unless Attribute is the name of an attribute of the
	// subject whose value it is.
	Value, Attribute string
}

// Binding gives members a role in a scope.
type Binding struct {
	// Name is its resource name: "projects/p/roleBindings/b".
	Name string
	// Scope is where it holds: a project, an organization, a service, or "".
	Scope   string
	Role    string
	Members []string
	// Params are values of the role's parameters.
	Params map[string]Param
	// NotBefore and Expire are when it begins and ceases to hold; zero is
	// always.
	NotBefore, Expire time.Time
	// Allow are the addresses that it holds for, all if there are none, and
	// Deny those that it does not hold for.
	Allow, Deny []netip.Prefix
	// OwnScopeOnly disables it in the child scopes of its scope.
	OwnScopeOnly bool
}

// The bounds of what an Engine takes.
const (
	maxMembers = 1500 // as in Google Cloud's policies
	maxGrants  = 256
	maxName    = 512
)

// bad is the fault of a policy that cannot be.
func bad(name, field, format string, args ...any) error {
	return &fault.Error{
		Op: "iam/access.Check", Name: name, Kind: fault.Invalid, Reason: "INVALID_POLICY", Field: field, Err: fmt.Errorf(format, args...),
	}
}

// Check returns an Invalid fault that names the field at fault, unless r can be
// a role.
func (r *Role) Check() error {
	switch {
	case r.Name == "" || len(r.Name) > maxName:
		return bad(r.Name, "name", "a role has a name of at most %d bytes", maxName)
	case len(r.Grants) > maxGrants:
		return bad(r.Name, "grants", "there are %d grants, and at most %d can be", len(r.Grants), maxGrants)
	}
	for i, g := range r.Grants {
		field := fmt.Sprintf("grants[%d].", i)
		if len(g.Permissions) == 0 {
			return bad(r.Name, field+"permissions", "a grant has at least one permission")
		}
		for name, patterns := range map[string][]string{"permissions": g.Permissions, "except": g.Except} {
			for _, p := range patterns {
				if err := CheckPattern(p); err != nil {
					return bad(r.Name, field+name, "%w", err)
				}
			}
		}
		if err := r.checkSubScope(g.SubScope); err != nil {
			return bad(r.Name, field+"subScope", "%w", err)
		}
		for _, c := range slices.Concat(g.Fields, g.Request) {
			if c.Path == "" || len(c.Values) == 0 && c.Param == "" {
				return bad(r.Name, field+"conditions", "a condition has a path, and values or a parameter")
			}
			if c.Param != "" && !slices.Contains(r.Params, c.Param) {
				return bad(r.Name, field+"conditions", "the role has no parameter %q", c.Param)
			}
		}
	}
	return nil
}

// checkSubScope is why a sub-scope cannot be, if it cannot.
func (r *Role) checkSubScope(s string) error {
	if s == "" {
		return nil
	}
	segments := strings.Split(s, "/")
	if len(segments)%2 != 0 {
		return fmt.Errorf("%q is no name: collections and ids alternate", s)
	}
	for _, segment := range segments {
		param, isParam := paramOf(segment)
		switch {
		case segment == "":
			return fmt.Errorf("%q has an empty segment", s)
		case isParam && !slices.Contains(r.Params, param):
			return fmt.Errorf("the role has no parameter %q", param)
		}
	}
	return nil
}

// paramOf is the parameter that a segment stands for.
func paramOf(segment string) (string, bool) {
	if len(segment) < 3 || segment[0] != '{' || segment[len(segment)-1] != '}' {
		return "", false
	}
	return segment[1 : len(segment)-1], true
}

// CheckPattern is why a permission of a grant cannot be, if it cannot: elements
// with dots between them, of which the last may be "*".
func CheckPattern(pattern string) error {
	if pattern == "*" {
		return nil
	}
	text := strings.TrimSuffix(pattern, ".*")
	if text == "" || len(pattern) > maxName {
		return fmt.Errorf("%.40q is no permission", pattern)
	}
	for element := range strings.SplitSeq(text, ".") {
		if element == "" || strings.ContainsAny(element, "* \t\r\n/") {
			return fmt.Errorf("%.40q is no permission: want SERVICE.RESOURCES.VERB, SERVICE.RESOURCES.*, SERVICE.* or *", pattern)
		}
	}
	return nil
}

// Check returns an Invalid fault that names the field at fault, unless b can be
// a binding. Whether its role is there is not asked.
func (b *Binding) Check() error {
	switch {
	case b.Name == "" || len(b.Name) > maxName:
		return bad(b.Name, "name", "a binding has a name of at most %d bytes", maxName)
	case b.Role == "":
		return bad(b.Name, "role", "a binding has a role")
	case b.Scope != "" && scopeOf(b.Scope) != b.Scope:
		return bad(b.Name, "scope", "%q is no project, organization or service", b.Scope)
	case len(b.Members) == 0 || len(b.Members) > maxMembers:
		return bad(b.Name, "members", "there are %d members, and 1 to %d can be", len(b.Members), maxMembers)
	case !b.Expire.IsZero() && !b.NotBefore.IsZero() && !b.NotBefore.Before(b.Expire):
		return bad(b.Name, "expireTime", "it expires before it begins to hold")
	}
	for _, m := range b.Members {
		if err := CheckMember(m); err != nil {
			return bad(b.Name, "members", "%w", err)
		}
	}
	return nil
}

// CheckMember is why a text cannot be a member, if it cannot.
func CheckMember(m string) error {
	if m == AllUsers || m == AllAuthenticated {
		return nil
	}
	if len(m) > maxName {
		return errors.New("a member is over 512 bytes")
	}
	for _, kind := range []string{User, ServiceAccount, Device, Group, Domain} {
		if rest, ok := strings.CutPrefix(m, kind); ok && rest != "" && !strings.ContainsAny(rest, " \t\r\n") {
			return nil
		}
	}
	return fmt.Errorf("%.80q is no member: want %s, %s, %sEMAIL, %sNAME, %sNAME, %sNAME or %sDOMAIN",
		m, AllUsers, AllAuthenticated, User, ServiceAccount, Device, Group, Domain)
}

// clone is a copy that shares nothing that can change.
func (b *Binding) clone() *Binding {
	c := *b
	c.Members, c.Params = slices.Clone(b.Members), maps.Clone(b.Params)
	c.Allow, c.Deny = slices.Clone(b.Allow), slices.Clone(b.Deny)
	return &c
}

// scopes are the collections of scopes.
var scopes = [...]string{"projects/", "organizations/", "services/"}

// scopeOf is the scope that a resource is in: the part of its name that names
// one, else "".
func scopeOf(resource string) string {
	for _, collection := range scopes {
		if rest, ok := strings.CutPrefix(resource, collection); ok && rest != "" {
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				return resource[:len(collection)+i]
			}
			return resource
		}
	}
	return ""
}
