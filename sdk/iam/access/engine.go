package access

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Engine decides. Make one with New; all methods may be called concurrently.
type Engine struct {
	options Options

	// mu guards what follows.
	mu       sync.RWMutex
	roles    map[string]*role
	bindings map[string]*Binding
	// ofMember are the bindings that name a member.
	ofMember map[string][]*Binding
	// groups are the members of groups, and within the groups that name a
	// member.
	groups, within map[string][]string
	// parents are the scopes that scopes are in.
	parents map[string]string
	// generation counts the changes.
	generation uint64

	// subjects are *held by member, and known counts them.
	subjects sync.Map
	known    atomic.Int64
}

// held is what a subject has by bindings and implied roles: what does not
// depend on the question.
type held struct {
	generation uint64
	// byScope are those that hold in a scope, by the name of the binding.
	byScope map[string][]holding
}

// holding is a role that a subject has in a scope.
type holding struct {
	// binding is nil for an implied role.
	binding *Binding
	role    *role
	member  string
}

// New makes an engine without roles and bindings, which denies everything.
func New(o Options) *Engine {
	o.MaxSubjects = cmp.Or(o.MaxSubjects, 100_000)
	return &Engine{
		options: o, roles: map[string]*role{}, bindings: map[string]*Binding{}, ofMember: map[string][]*Binding{},
		groups: map[string][]string{}, within: map[string][]string{}, parents: map[string]string{},
	}
}

// change makes a change that decisions see from now on.
func (e *Engine) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	e.generation++
}

// SetRole adds or replaces a role. Invalid if it cannot be one.
func (e *Engine) SetRole(r Role) error {
	if err := r.Check(); err != nil {
		return err
	}
	r.Params = slices.Clone(r.Params)
	r.Grants = slices.Clone(r.Grants)
	for i := range r.Grants {
		g := &r.Grants[i]
		g.Permissions, g.Except = slices.Clone(g.Permissions), slices.Clone(g.Except)
		g.Fields, g.Request = slices.Clone(g.Fields), slices.Clone(g.Request)
	}
	made := newRole(r)
	e.change(func() { e.roles[r.Name] = made })
	return nil
}

// DeleteRole removes a role: bindings to it grant nothing.
func (e *Engine) DeleteRole(name string) { e.change(func() { delete(e.roles, name) }) }

// SetBinding adds or replaces a binding. Invalid if it cannot be one.
func (e *Engine) SetBinding(b Binding) error {
	if err := b.Check(); err != nil {
		return err
	}
	made := b.clone()
	e.change(func() {
		e.unbind(b.Name)
		e.bindings[b.Name] = made
		for i, m := range made.Members {
			if !slices.Contains(made.Members[:i], m) {
				e.ofMember[m] = append(e.ofMember[m], made)
			}
		}
	})
	return nil
}

// DeleteBinding removes a binding.
func (e *Engine) DeleteBinding(name string) { e.change(func() { e.unbind(name) }) }

// unbind removes a binding; e.mu is held.
func (e *Engine) unbind(name string) {
	b := e.bindings[name]
	if b == nil {
		return
	}
	delete(e.bindings, name)
	for _, m := range b.Members {
		drop(e.ofMember, m, b)
	}
}

// drop removes v from the list of key.
func drop[V comparable](lists map[string][]V, key string, v V) {
	i := slices.Index(lists[key], v)
	if i < 0 {
		return
	}
	list := slices.Delete(lists[key], i, i+1)
	if len(list) == 0 {
		delete(lists, key)
		return
	}
	lists[key] = list
}

// SetGroup says who the members of a group are, which may be groups; none
// deletes it. Groups may contain each other: who is in one of them is then in
// all.
func (e *Engine) SetGroup(name string, members []string) error {
	for _, m := range members {
		if err := CheckMember(m); err != nil {
			return bad(name, "members", "%w", err)
		}
	}
	members = slices.Clone(members)
	slices.Sort(members)
	members = slices.Compact(members)
	e.change(func() {
		for _, m := range e.groups[name] {
			drop(e.within, m, name)
		}
		delete(e.groups, name)
		if len(members) == 0 {
			return
		}
		e.groups[name] = members
		for _, m := range members {
			e.within[m] = append(e.within[m], name)
		}
	})
	return nil
}

// SetParent says which scope a project or an organization is in; "" is none but
// the platform.
func (e *Engine) SetParent(scope, parent string) error {
	if scopeOf(scope) != scope || scope == "" || parent != "" && scopeOf(parent) != parent {
		return bad(scope, "parent", "%q in %q: want projects and organizations", scope, parent)
	}
	e.change(func() {
		if parent == "" {
			delete(e.parents, scope)
			return
		}
		e.parents[scope] = parent
	})
	return nil
}

// maxDepth bounds how many scopes are above each other; what is above that, as
// in a loop, is not looked at.
const maxDepth = 32

// chain are the scopes that a resource is in, the nearest first, "" last; e.mu
// is held. It appends to dst.
func (e *Engine) chain(dst []string, resource string) []string {
	for scope := scopeOf(resource); scope != "" && len(dst) < maxDepth && !slices.Contains(dst, scope); scope = e.parents[scope] {
		dst = append(dst, scope)
	}
	return append(dst, "")
}

// members are the members that a subject is, in a fixed order: itself, its
// domain, the groups that it is in, and those that stand for many. e.mu is held.
func (e *Engine) members(subject string) []string {
	var all []string
	if subject != "" && !strings.HasPrefix(subject, Group) && !strings.HasPrefix(subject, Domain) { // which nobody is himself
		all = append(all, subject, AllAuthenticated)
		if address, ok := strings.CutPrefix(subject, User); ok {
			if at := strings.LastIndexByte(address, '@'); at >= 0 {
				all = append(all, Domain+address[at+1:])
			}
		}
	}
	all = append(all, AllUsers)
	seen := map[string]bool{}
	for _, m := range all {
		seen[m] = true
	}
	for i := 0; i < len(all); i++ {
		for _, group := range e.within[all[i]] {
			if m := Group + group; !seen[m] {
				seen[m] = true
				all = append(all, m)
			}
		}
	}
	slices.Sort(all)
	return all
}

// heldBy is what a subject has; e.mu is held for reading.
func (e *Engine) heldBy(subject string) *held {
	if found, ok := e.subjects.Load(subject); ok {
		if h, ok := found.(*held); ok && h.generation == e.generation {
			return h
		}
	}
	h := &held{generation: e.generation, byScope: map[string][]holding{}}
	if e.options.Implied != nil {
		for _, i := range e.options.Implied(subject) {
			if r := e.roles[i.Role]; r != nil {
				h.byScope[i.Scope] = append(h.byScope[i.Scope], holding{role: r, member: subject})
			}
		}
	}
	seen := map[*Binding]bool{}
	for _, m := range e.members(subject) {
		for _, b := range e.ofMember[m] {
			if r := e.roles[b.Role]; r != nil && !seen[b] {
				seen[b] = true
				h.byScope[b.Scope] = append(h.byScope[b.Scope], holding{b, r, m})
			}
		}
	}
	for _, list := range h.byScope {
		slices.SortStableFunc(list, func(a, b holding) int { return strings.Compare(a.name(), b.name()) })
	}
	if _, had := e.subjects.Swap(strings.Clone(subject), h); !had && e.known.Add(1) > int64(e.options.MaxSubjects) {
		e.subjects.Clear()
		e.known.Store(0)
	}
	return h
}

// name is that of the binding, "" without.
func (h *holding) name() string {
	if h.binding == nil {
		return ""
	}
	return h.binding.Name
}
