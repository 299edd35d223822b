package access

import (
	"slices"
	"strings"
)

// role is a Role as decisions need it.
type role struct {
	Role

	grants []grant
}

// grant is a Grant as decisions need it.
type grant struct {
	*Grant

	granted, except patterns
	// segments are those of the sub-scope.
	segments []string
}

// newRole prepares a role, which is not changed any more.
func newRole(r Role) *role {
	out := &role{Role: r, grants: make([]grant, len(r.Grants))}
	for i := range r.Grants {
		g := grant{Grant: &r.Grants[i], granted: newPatterns(r.Grants[i].Permissions), except: newPatterns(r.Grants[i].Except)}
		if g.SubScope != "" {
			g.segments = strings.Split(g.SubScope, "/")
		}
		out.grants[i] = g
	}
	return out
}

// permits reports whether the grant has the permission.
func (g *grant) permits(permission string) bool {
	return g.granted.match(permission) && !g.except.match(permission)
}

// patterns are permissions as a grant names them.
type patterns struct {
	exact map[string]struct{}
	// prefixes are what patterns begin with, with their last dot; "" is all.
	prefixes []string
}

// newPatterns prepares patterns.
func newPatterns(all []string) patterns {
	p := patterns{exact: map[string]struct{}{}}
	for _, text := range all {
		if prefix, ok := strings.CutSuffix(text, "*"); ok {
			p.prefixes = append(p.prefixes, prefix)
			continue
		}
		p.exact[text] = struct{}{}
	}
	return p
}

// match reports whether a permission is of the patterns.
func (p *patterns) match(permission string) bool {
	if _, ok := p.exact[permission]; ok {
		return true
	}
	for _, prefix := range p.prefixes {
		if strings.HasPrefix(permission, prefix) {
			return true
		}
	}
	return false
}

// contain reports whether everything that a pattern matches is of the patterns.
func (p *patterns) contain(pattern string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return p.match(pattern)
	}
	return slices.ContainsFunc(p.prefixes, func(own string) bool { return strings.HasPrefix(prefix, own) })
}

// overlap reports whether two patterns match one permission.
func overlap(a, b string) bool {
	a, wildA := strings.CutSuffix(a, "*")
	b, wildB := strings.CutSuffix(b, "*")
	return a == b || wildA && strings.HasPrefix(b, a) || wildB && strings.HasPrefix(a, b)
}

// covers reports whether the grant has everything that a pattern matches but
// what is excepted.
func (g *grant) covers(pattern string, except *patterns) bool {
	return g.granted.contain(pattern) && !slices.ContainsFunc(g.Except, func(e string) bool {
		return overlap(e, pattern) && !except.contain(e)
	})
}

// Permits reports whether the role has the permission, wherever it is bound and
// without conditions.
func (r *Role) Permits(permission string) bool {
	for _, g := range newRole(*r).grants {
		if g.permits(permission) && len(g.segments)+len(g.Fields)+len(g.Request) == 0 {
			return true
		}
	}
	return false
}
