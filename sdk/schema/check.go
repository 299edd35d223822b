package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Check finds what is wrong between the services of the registry, once all are
// there: a reference to a type that does not exist or wants none, and a pattern
// with a variable that is the id of nothing.
func (r *Registry) Check() error {
	for _, s := range r.services {
		for _, x := range s.Resources {
			for _, ref := range x.References {
				domain, _, _ := strings.Cut(ref.Type, "/")
				target, ok := r.byType[ref.Type]
				switch {
				case !ok && r.has(domain):
					return fmt.Errorf("schema: %s: %s refers to %s, which does not exist", x.Message.Descriptor().FullName(), ref.Path, ref.Type)
				case ok && target.Options.GetUnconstrained():
					return fmt.Errorf("schema: %s: %s refers to %s, which is unconstrained", x.Message.Descriptor().FullName(), ref.Path, ref.Type)
				}
			}
			for _, p := range x.Patterns {
				if v := r.unknown(s, string(p)); v != "" {
					return fmt.Errorf("schema: %s: the variable %s of the pattern %s is no type of the service or of one that it imports", x.Message.Descriptor().FullName(), v, p)
				}
			}
		}
	}
	return nil
}

// has reports whether a service is in the registry.
func (r *Registry) has(domain string) bool {
	return slices.ContainsFunc(r.services, func(s *Service) bool { return s.Domain == domain })
}

// scopes are the variables that names of every service may have. What they are
// the ids of belongs to the platform, which no service needs to import.
var scopes = []string{"project", "organization", "service", "region"}

// unknown is a variable of a pattern that is the id of nothing, "" if there is
// none. Types of services that are not in the registry are taken to exist.
func (r *Registry) unknown(s *Service, pattern string) string {
	from := []*Service{s}
	for _, domain := range s.Imports {
		i := slices.IndexFunc(r.services, func(s *Service) bool { return s.Domain == domain })
		if i < 0 {
			return ""
		}
		from = append(from, r.services[i])
	}
	for _, v := range variables(pattern) {
		known := slices.Contains(scopes, v) || slices.ContainsFunc(from, func(s *Service) bool {
			return slices.ContainsFunc(s.Resources, func(x *Resource) bool { return snake(x.Singular) == v })
		})
		if !known {
			return v
		}
	}
	return ""
}

// checkPatterns finds what is wrong with the patterns of a type: they alternate
// collections with variables, no variable twice, and end with the type's own.
func checkPatterns(x *Resource) error {
	for _, p := range x.Patterns {
		segments := strings.Split(string(p), "/")
		if len(segments)%2 != 0 {
			return fmt.Errorf("the pattern %s does not alternate collections with variables", p)
		}
		seen := map[string]bool{}
		for i, s := range segments {
			isVariable := strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) > 2
			if isVariable != (i%2 == 1) || s == "" || strings.Trim(s, "{}") != strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}") {
				return fmt.Errorf("the pattern %s does not alternate collections with variables", p)
			}
			if isVariable && seen[s] {
				return fmt.Errorf("the pattern %s has the variable %s twice", p, s)
			}
			seen[s] = isVariable
		}
		if last := x.Plural + "/{" + snake(x.Singular) + "}"; !strings.HasSuffix("/"+string(p), "/"+last) {
			return fmt.Errorf("the pattern %s does not end with %s", p, last)
		}
		for _, u := range x.Options.GetUnique() {
			if u.GetWithin() != "" && !slices.Contains(variables(string(p)), u.GetWithin()) {
				return fmt.Errorf("%s is unique within %s, which the pattern %s has not", u.GetPath(), u.GetWithin(), p)
			}
		}
	}
	return nil
}

// variables are the variables of a pattern.
func variables(pattern string) []string {
	var out []string
	for s := range strings.SplitSeq(pattern, "/") {
		if v, ok := strings.CutPrefix(s, "{"); ok {
			out = append(out, strings.TrimSuffix(v, "}"))
		}
	}
	return out
}
