package access

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Explanation is a decision, and if it is a denial what is missing.
type Explanation struct {
	Decision

	// Near are the grants of bindings that lack the least: of all that there
	// are, those with the fewest failing checks. It is empty when there is no
	// binding at all.
	Near []NearMiss
	// Holders are the roles with the permission, by name: a binding to one of
	// them in Scopes would do, but for what their grants are narrowed to.
	Holders []string
	// Scopes are where such a binding could hold, the nearest first.
	Scopes []string
}

// NearMiss is a grant of a binding that does not allow.
type NearMiss struct {
	Binding, Role string
	Grant         int
	// Failed are the checks that fail.
	Failed Check
}

// maxNear bounds the near misses that are told.
const maxNear = 100

// Explain answers a question with the reason. It looks at every binding: some
// milliseconds for 100,000 of them.
func (e *Engine) Explain(q Question) Explanation {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	out := Explanation{Decision: e.Decide(q)}
	if out.Allowed {
		return out
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	out.Scopes = e.chain(nil, q.Resource)
	for name, r := range e.roles {
		if slices.ContainsFunc(r.grants, func(g grant) bool { return g.permits(q.Permission) }) {
			out.Holders = append(out.Holders, name)
		}
	}
	slices.Sort(out.Holders)
	members := e.members(q.Subject.Member)
	least := bits.UintSize
	for _, b := range e.bindings {
		r := e.roles[b.Role]
		if r == nil {
			continue
		}
		h := holding{binding: b, role: r}
		depth := slices.Index(out.Scopes, b.Scope)
		failed := h.fails(&q, depth)
		if depth < 0 {
			failed |= InScope
		}
		if !slices.ContainsFunc(b.Members, func(m string) bool { _, is := slices.BinarySearch(members, m); return is }) {
			failed |= IsMember
		}
		for g := range r.grants {
			miss := NearMiss{b.Name, r.Name, g, failed | h.failsGrant(&q, g)}
			if !r.grants[g].permits(q.Permission) {
				miss.Failed |= HasPermission
			}
			n := bits.OnesCount16(uint16(miss.Failed))
			if n < least {
				least, out.Near = n, out.Near[:0]
			}
			if n == least {
				out.Near = append(out.Near, miss)
			}
		}
	}
	slices.SortFunc(out.Near, func(a, b NearMiss) int {
		return cmp.Or(strings.Compare(a.Binding, b.Binding), cmp.Compare(a.Grant, b.Grant))
	})
	out.Near = out.Near[:min(len(out.Near), maxNear)]
	return out
}

// Granted is a permission that a subject has.
type Granted struct {
	Permission string
	// Conditional says that it depends on the resource, on fields, or on where
	// the request comes from.
	Conditional bool
}

// Permissions are those of known that the subject has on the resource or on
// something below it, in the order of known.
func (e *Engine) Permissions(subject Subject, resource string, known []string) []Granted {
	q := Question{Subject: subject, Resource: resource, Time: time.Now()}
	e.mu.RLock()
	defer e.mu.RUnlock()
	h := e.heldBy(subject.Member)
	chain := e.chain(nil, resource)
	var out []Granted
	for _, permission := range known {
		found, conditional := false, true
		for depth, scope := range chain {
			for i := range h.byScope[scope] {
				x := &h.byScope[scope][i]
				failed := x.fails(&q, depth)
				if failed&^FromAddress != 0 {
					continue
				}
				for g := range x.role.grants {
					if x.role.grants[g].permits(permission) {
						found = true
						conditional = conditional && failed|x.failsGrant(&q, g) != 0
					}
				}
			}
		}
		if found {
			out = append(out, Granted{permission, conditional})
		}
	}
	return out
}

// Covers reports whether the subject itself has, in the scope and without
// conditions, all that the role grants: who may bind roles may bind only such.
func (e *Engine) Covers(subject Subject, scope, roleName string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	wanted := e.roles[roleName]
	return wanted != nil && e.covers(subject, scope, wanted)
}

// CoversRole is Covers of a role that need not be there.
func (e *Engine) CoversRole(subject Subject, scope string, r Role) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.covers(subject, scope, newRole(r))
}

// covers is Covers of a role; e.mu is held.
func (e *Engine) covers(subject Subject, scope string, wanted *role) bool {
	q := Question{Subject: subject, Resource: scope, Time: time.Now()}
	h := e.heldBy(subject.Member)
	chain := e.chain(nil, scope)
	has := func(pattern string, except *patterns) bool {
		for depth, s := range chain {
			for i := range h.byScope[s] {
				x := &h.byScope[s][i]
				// What holds here only, or for a time, would be handed on for
				// more than that.
				if x.fails(&q, depth) != 0 || x.binding != nil && (x.binding.OwnScopeOnly || !x.binding.Expire.IsZero()) {
					continue
				}
				for g := range x.role.grants {
					gr := &x.role.grants[g]
					if len(gr.segments)+len(gr.Fields)+len(gr.Request) == 0 && gr.covers(pattern, except) {
						return true
					}
				}
			}
		}
		return false
	}
	for i := range wanted.grants {
		if slices.ContainsFunc(wanted.Grants[i].Permissions, func(p string) bool { return !has(p, &wanted.grants[i].except) }) {
			return false
		}
	}
	return true
}

// Scopes are the scopes that a resource is in, the nearest first, "" last.
func (e *Engine) Scopes(resource string) []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.chain(nil, resource)
}

// Held is a role that a member has by a binding.
type Held struct{ Binding, Role, Scope string }

// HeldBy is what a member has by bindings that name it, or a group that it is
// in, sorted by binding: what somebody gets who becomes that member. What
// everybody has is not in it.
func (e *Engine) HeldBy(member string) []Held {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all, seen := []string{member}, map[string]bool{member: true}
	if address, ok := strings.CutPrefix(member, User); ok {
		if at := strings.LastIndexByte(address, '@'); at >= 0 {
			all = append(all, Domain+address[at+1:])
		}
	}
	for i := 0; i < len(all); i++ {
		for _, group := range e.within[all[i]] {
			if m := Group + group; !seen[m] {
				seen[m] = true
				all = append(all, m)
			}
		}
	}
	var out []Held
	for _, m := range all {
		for _, b := range e.ofMember[m] {
			out = append(out, Held{b.Name, b.Role, b.Scope})
		}
	}
	slices.SortFunc(out, func(a, b Held) int { return strings.Compare(a.Binding, b.Binding) })
	return slices.Compact(out)
}
