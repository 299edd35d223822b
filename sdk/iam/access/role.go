package access

import "strings"

// role is a Role as decisions need it.
type role struct {
	Role

	grants []grant
}

// grant is a Grant as decisions need it.
type grant struct {
	*Grant

	exact map[string]struct{}
	// prefixes are what patterns begin with, with their last dot; "" is all.
	prefixes []string
	// segments are those of the sub-scope.
	segments []string
}

// newRole prepares a role, which is not changed any more.
func newRole(r Role) *role {
	out := &role{Role: r, grants: make([]grant, len(r.Grants))}
	for i := range r.Grants {
		g := grant{Grant: &r.Grants[i], exact: map[string]struct{}{}}
		for _, p := range g.Permissions {
			if prefix, ok := strings.CutSuffix(p, "*"); ok {
				g.prefixes = append(g.prefixes, prefix)
				continue
			}
			g.exact[p] = struct{}{}
		}
		if g.SubScope != "" {
			g.segments = strings.Split(g.SubScope, "/")
		}
		out.grants[i] = g
	}
	return out
}

// permits reports whether the grant has the permission.
func (g *grant) permits(permission string) bool {
	if _, ok := g.exact[permission]; ok {
		return true
	}
	for _, p := range g.prefixes {
		if strings.HasPrefix(permission, p) {
			return true
		}
	}
	return false
}
