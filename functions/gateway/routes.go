package gateway

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// routes say which service a path is of, whatever is done there: no two services
// share one. They decide as sdk/gateway/rpc does, which answers for the services:
// by the path without its escapes.
type routes struct {
	// calls are the domains by the first segment of the path of a call over
	// Connect and gRPC-Web: "selvedge.devices.v1.DeviceService".
	calls map[string]string
	// rest are the paths over REST.
	rest branch
}

// branch is where paths over REST go on.
type branch struct {
	// next are the branches by the next segment: "*" is any one, "**" is one or more
	// to the end.
	next map[string]*branch
	// of are the domains of the paths that end here, by their verbs: "watch" is that
	// of "/v1/projects/p/devices:watch", "" none.
	of map[string]string
}

// newRoutes reads the contracts.
func newRoutes(services []*schema.Service) *routes {
	r := &routes{calls: map[string]string{}}
	for _, s := range services {
		for _, m := range s.Methods {
			r.calls[string(m.Desc.Parent().FullName())] = s.Domain
			for _, t := range templates(m.Desc) {
				r.rest.add(t, s.Domain)
			}
			// Events have paths of their own: those of all of a type, wherever they are.
			if m.Verb == resourcev1.Method_WATCH && m.Collection {
				r.rest.add("/v1/"+m.Resource.Plural+":watch", s.Domain)
			}
		}
	}
	return r
}

// serviceOf is the domain of the service that a path is of, "" for none.
func (r *routes) serviceOf(path string) string {
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return ""
	}
	name, _, called := strings.Cut(path, "/")
	if domain := r.calls[name]; called && domain != "" {
		return domain
	}
	path, verb, ok := cutVerb(path)
	if !ok {
		return ""
	}
	return r.rest.find(path, verb)
}

// cutVerb cuts the verb off a path: what comes after the first colon of its last
// segment. A path that ends with a colon is none.
func cutVerb(path string) (before, verb string, ok bool) {
	if strings.HasSuffix(path, ":") {
		return "", "", false
	}
	last := strings.LastIndexByte(path, '/') + 1
	name, verb, _ := strings.Cut(path[last:], ":")
	return path[:last+len(name)], verb, true
}

// find is the domain of a path with a verb. At every segment a name goes before any
// one, and any one before the rest.
func (b *branch) find(path, verb string) string {
	segment, rest, more := strings.Cut(path, "/")
	for _, key := range [...]string{segment, "*"} {
		next := b.next[key]
		if next == nil {
			continue
		}
		domain := next.of[verb]
		if more {
			domain = next.find(rest, verb)
		}
		if domain != "" {
			return domain
		}
	}
	if next := b.next["**"]; next != nil {
		return next.of[verb]
	}
	return ""
}

// variable is a part of a template that becomes a field: "{name=projects/*}", or
// "{id}", which is one segment.
var variable = regexp.MustCompile(`\{[^{}=]*(?:=([^{}]*))?\}`)

// add adds the paths of a template of google.api.http.
func (b *branch) add(template, domain string) {
	plain := variable.ReplaceAllStringFunc(template, func(v string) string {
		if pattern := variable.FindStringSubmatch(v)[1]; pattern != "" {
			return pattern
		}
		return "*"
	})
	path, verb, _ := cutVerb(strings.TrimPrefix(plain, "/"))
	for segment := range strings.SplitSeq(path, "/") {
		next := b.next[segment]
		if next == nil {
			next = &branch{}
			if b.next == nil {
				b.next = map[string]*branch{}
			}
			b.next[segment] = next
		}
		b = next
	}
	if b.of == nil {
		b.of = map[string]string{}
	}
	b.of[verb] = domain
}

// httpOption is the option of methods that says what they are over REST.
const httpOption = protoreflect.FullName("google.api.http")

// templates are the paths of a method over REST.
func templates(m protoreflect.MethodDescriptor) (all []string) {
	m.Options().ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.FullName() == httpOption {
			all = templatesOf(v.Message())
		}
		return true
	})
	return all
}

// templatesOf are the paths of a google.api.HttpRule and of those in it. They are
// read by the names of its fields.
func templatesOf(rule protoreflect.Message) (all []string) {
	d := rule.Descriptor()
	switch f := rule.WhichOneof(d.Oneofs().ByName("pattern")); {
	case f == nil:
	case f.Message() == nil:
		all = append(all, rule.Get(f).String())
	default: // of another method than HTTP's usual ones
		all = append(all, rule.Get(f).Message().Get(f.Message().Fields().ByName("path")).String())
	}
	more := rule.Get(d.Fields().ByName("additional_bindings")).List()
	for i := range more.Len() {
		all = append(all, templatesOf(more.Get(i).Message())...)
	}
	return all
}
