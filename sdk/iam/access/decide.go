package access

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Decide answers a question.
func (e *Engine) Decide(q Question) Decision {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	h := e.heldBy(q.Subject.Member)
	var buffer [8]string
	for depth, scope := range e.chain(buffer[:0], q.Resource) {
		for i := range h.byScope[scope] {
			x := &h.byScope[scope][i]
			if x.fails(&q, depth) != 0 {
				continue
			}
			for g := range x.role.grants {
				if x.role.grants[g].permits(q.Permission) && x.failsGrant(&q, g) == 0 {
					return Decision{true, x.name(), x.role.Name, g, x.member, scope}
				}
			}
		}
	}
	return Decision{}
}

// Check is one thing that a binding and a grant of its role must fulfil for a
// question.
type Check uint16

// The checks, in the order in which they are told.
const (
	// IsMember: the subject is a member of the binding.
	IsMember Check = 1 << iota
	// InScope: the resource is in the binding's scope or below.
	InScope
	// InOwnScope: it is not in a child scope, for which the binding is disabled.
	InOwnScope
	// HasBegun and NotExpired: it is the binding's time.
	HasBegun
	NotExpired
	// FromAddress: the request comes from an address that the binding holds for.
	FromAddress
	// HasPermission: the grant has the permission.
	HasPermission
	// InSubScope: the resource is in the grant's sub-scope.
	InSubScope
	// FieldsFit and RequestFits: the conditions on fields hold.
	FieldsFit
	RequestFits
)

// checkNames are the names of the checks, the first for 1.
var checkNames = []string{
	"MEMBER", "SCOPE", "CHILD_SCOPE", "NOT_YET", "EXPIRED", "ADDRESS", "PERMISSION", "SUB_SCOPE", "RESOURCE_FIELDS", "REQUEST_FIELDS",
}

// Names are the names of the checks in a set.
func (c Check) Names() []string {
	var names []string
	for i, name := range checkNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// fails are the checks of the binding that fail, for a resource whose scope is
// depth below that of the binding.
func (h *holding) fails(q *Question, depth int) (failed Check) {
	b := h.binding
	if b == nil {
		return 0
	}
	if b.OwnScopeOnly && depth > 0 && (b.Scope != "" || scopeOf(q.Resource) != "") {
		failed |= InOwnScope
	}
	if !b.NotBefore.IsZero() && q.Time.Before(b.NotBefore) {
		failed |= HasBegun
	}
	if !b.Expire.IsZero() && !q.Time.Before(b.Expire) {
		failed |= NotExpired
	}
	if len(b.Allow)+len(b.Deny) > 0 && !b.from(q.Address) {
		failed |= FromAddress
	}
	return failed
}

// from reports whether the binding holds for an address. One that is not known
// is none of those that are allowed, and may be one that is denied.
func (b *Binding) from(address netip.Addr) bool {
	if !address.IsValid() {
		return false
	}
	address = address.Unmap()
	contains := func(p netip.Prefix) bool { return p.Contains(address) }
	return !slices.ContainsFunc(b.Deny, contains) && (len(b.Allow) == 0 || slices.ContainsFunc(b.Allow, contains))
}

// failsGrant are the checks of a grant that fail, but HasPermission.
func (h *holding) failsGrant(q *Question, g int) (failed Check) {
	gr := &h.role.grants[g]
	if !h.inSubScope(gr.segments, q) {
		failed |= InSubScope
	}
	if !q.AnyFields && !h.fit(gr.Fields, q, q.Fields) {
		failed |= FieldsFit
	}
	if !h.fit(gr.Request, q, q.Request) {
		failed |= RequestFits
	}
	return failed
}

// inSubScope reports whether the resource is what the segments name, or below.
func (h *holding) inSubScope(segments []string, q *Question) bool {
	if len(segments) == 0 {
		return true
	}
	rest := strings.TrimPrefix(q.Resource[len(scopeOf(q.Resource)):], "/")
	for _, want := range segments {
		var got string
		got, rest, _ = strings.Cut(rest, "/")
		if got == "" {
			return false
		}
		if param, ok := paramOf(want); ok {
			if want = h.param(param, q); want == "" {
				return false
			}
		} else if want == "-" {
			continue
		}
		if got != want {
			return false
		}
	}
	return true
}

// param is the value of a parameter, "" if there is none.
func (h *holding) param(name string, q *Question) string {
	if h.binding == nil {
		return q.Subject.Attributes[name]
	}
	p := h.binding.Params[name]
	if p.Attribute != "" {
		return q.Subject.Attributes[p.Attribute]
	}
	return p.Value
}

// fit reports whether all conditions hold.
func (h *holding) fit(conditions []FieldCondition, q *Question, values func(path string) []string) bool {
	for _, c := range conditions {
		if values == nil {
			return false
		}
		param := ""
		if c.Param != "" {
			param = h.param(c.Param, q)
		}
		if !slices.ContainsFunc(values(c.Path), func(v string) bool {
			return slices.Contains(c.Values, v) || param != "" && v == param
		}) {
			return false
		}
	}
	return true
}
