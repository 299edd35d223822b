package service

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// get answers a Get (google.aip.dev/131).
func (s *Service) get(ctx context.Context, c *call) (proto.Message, error) {
	name, err := readName(c.m.Resource, "name", text(c.req, c.m.name))
	if err != nil {
		return nil, err
	}
	terms, err := s.ask(ctx, c.m.Permission, name)
	if err != nil {
		return nil, err
	}
	show, err := c.projection()
	if err != nil {
		return nil, err
	}
	var out proto.Message
	err = s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		read := s.store.Get
		if show.part() {
			read = s.store.GetShared
		}
		out, err = read(ctx, c.m.Resource, name)
		if err = terms.read(ctx, c.m.Resource, out, err); err != nil {
			return err
		}
		if out = show.apply(out); show.part() {
			out = proto.Clone(out) // the cache keeps its own
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// maxBatch bounds the names of a BatchGet.
const maxBatch = 1000

// batchGet answers a BatchGet (google.aip.dev/231).
func (s *Service) batchGet(ctx context.Context, c *call) (proto.Message, error) {
	names, err := c.batch()
	if err != nil {
		return nil, err
	}
	on := make([]*terms, len(names))
	for i, n := range names {
		if on[i], err = s.ask(ctx, c.m.Permission, n); err != nil {
			return nil, err
		}
	}
	show, err := c.projection()
	if err != nil {
		return nil, err
	}
	var objects []proto.Message
	err = s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		objects, err = s.store.BatchGet(ctx, c.m.Resource, names)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, m := range objects {
		if err := on[i].meet(ctx, c.m.Resource, m); err != nil {
			return nil, err
		}
	}
	out := c.m.Output.New()
	list, missing := out.Mutable(c.m.objects).List(), out.Mutable(c.m.missing).List()
	for i, m := range objects {
		switch {
		case m != nil:
			list.Append(protoreflect.ValueOfMessage(show.apply(m).ProtoReflect()))
		case flag(c.req, c.m.allowMissing):
			missing.Append(protoreflect.ValueOfString(string(names[i])))
		default:
			return nil, atField(fmt.Sprintf("names[%d]", i), notFound("service.BatchGet", c.m.Resource, names[i]))
		}
	}
	return out.Interface(), nil
}

// batch are the names of a BatchGet.
func (c *call) batch() ([]resource.Name, error) {
	const op = "service.BatchGet"
	list := c.req.Get(c.m.names).List()
	if n := list.Len(); n == 0 || n > maxBatch {
		return nil, invalid(op, "INVALID_FIELD", "names", fmt.Errorf("want 1 to %d names, not %d", maxBatch, n))
	}
	parent := text(c.req, c.m.parent)
	below, err := readParent(c.m.Resource, parent)
	if parent != "" && err != nil {
		return nil, err
	}
	names := make([]resource.Name, list.Len())
	for i := range names {
		field := fmt.Sprintf("names[%d]", i)
		if names[i], err = readName(c.m.Resource, field, list.Get(i).String()); err != nil {
			return nil, err
		}
		if parent != "" && !below.Match(names[i]) {
			return nil, invalid(op, "INVALID_FIELD", field, fmt.Errorf("%s is not below %s", names[i], parent))
		}
	}
	return names, nil
}

// notFound is the fault of a name that nothing has.
func notFound(op string, r *schema.Resource, name resource.Name) error {
	return &fault.Error{Op: op, Name: string(name), Kind: fault.NotFound, Reason: "NOT_FOUND", Field: "name", Err: fmt.Errorf("there is no %s %s", r.Singular, name)}
}

// The sizes of pages.
const (
	defaultPage = 50
	maxPage     = 1000
)

// maxPhrase bounds the words of a search.
const maxPhrase = 1024

// list answers a List (google.aip.dev/132) and a Search, which is a list of
// what has some words.
func (s *Service) list(ctx context.Context, c *call) (proto.Message, error) {
	parent, err := readParent(c.m.Resource, text(c.req, c.m.parent))
	if err != nil {
		return nil, err
	}
	visible, err := s.allowList(ctx, c.m.Permission, text(c.req, c.m.parent))
	if err != nil {
		return nil, err
	}
	show, err := c.projection()
	if err != nil {
		return nil, err
	}
	q, err := c.query()
	if err != nil {
		return nil, err
	}
	q.Parent = parent
	if visible != nil {
		q.Shown = func(m proto.Message) bool { return visible(ctx, c.m.Resource, m) }
	}
	binding := c.binding()
	if q.After, q.Reverse, err = s.tokens.open(text(c.req, c.m.pageToken), binding); err != nil {
		return nil, err
	}
	if q.After != nil && len(q.After.Values) != len(q.Order.Keys) {
		return nil, badToken(errNotOurs)
	}
	var page *store.Page
	err = s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		page, err = s.store.List(ctx, c.m.Resource, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := c.m.Output.New()
	list := out.Mutable(c.m.objects).List()
	for _, m := range page.Objects {
		list.Append(protoreflect.ValueOfMessage(show.apply(m).ProtoReflect()))
	}
	set(out, c.m.next, s.tokens.seal(page.Next, false, binding))
	set(out, c.m.prev, s.tokens.seal(page.Prev, true, binding))
	if q.Count {
		info := out.Mutable(c.m.paging).Message()
		fields := info.Descriptor().Fields()
		info.Set(fields.ByName("offset"), protoreflect.ValueOfInt64(page.Offset))
		info.Set(fields.ByName("total"), protoreflect.ValueOfInt64(page.Total))
	}
	return out.Interface(), nil
}

// set sets a text of a response, if there is one.
func set(m protoreflect.Message, f protoreflect.FieldDescriptor, s string) {
	if s != "" {
		m.Set(f, protoreflect.ValueOfString(s))
	}
}

// query is what a List or Search asks for, but for where.
func (c *call) query() (store.Query, error) {
	const op = "service.List"
	q := store.Query{Limit: defaultPage, Count: flag(c.req, c.m.includePaging), Phrase: text(c.req, c.m.phrase)}
	switch n := c.req.Get(c.m.pageSize).Int(); {
	case n < 0:
		return q, invalid(op, "INVALID_FIELD", "page_size", fmt.Errorf("a page cannot have %d objects", n))
	case n > 0:
		q.Limit = int(min(n, maxPage))
	}
	if c.m.phrase != nil && q.Phrase == "" {
		return q, invalid(op, "INVALID_FIELD", "phrase", fmt.Errorf("say which words to look for; List is for all"))
	}
	if len(q.Phrase) > maxPhrase {
		return q, invalid(op, "INVALID_FIELD", "phrase", fmt.Errorf("a phrase has at most %d bytes", maxPhrase))
	}
	var err error
	if q.Filter, err = filter.Parse(c.m.Resource, text(c.req, c.m.filter)); err != nil {
		return q, err
	}
	if q.Order, err = filter.ParseOrder(c.m.Resource, text(c.req, c.m.orderBy)); err != nil {
		return q, err
	}
	return q, nil
}

// binding is what the page tokens of a list are bound to.
func (c *call) binding() []byte {
	return binding(string(c.m.Name), text(c.req, c.m.parent), text(c.req, c.m.filter), text(c.req, c.m.orderBy), text(c.req, c.m.phrase))
}

// watch answers a Watch by the hub.
func (s *Service) watch(ctx context.Context, c *call, send func(proto.Message) error) error {
	if s.options.Hub == nil {
		return &fault.Error{Op: "service.Watch", Kind: fault.Unavailable, Reason: "NO_WATCHES", Err: fmt.Errorf("the service serves no watches here")}
	}
	if !c.m.Collection {
		name, err := readName(c.m.Resource, "name", text(c.req, c.m.name))
		if err != nil {
			return err
		}
		terms, err := s.ask(ctx, c.m.Permission, name)
		if err != nil {
			return err
		}
		var visible watch.Visible
		if terms != nil {
			visible = func(ctx context.Context, r *schema.Resource, m proto.Message) bool {
				return terms.meet(ctx, r, m) == nil
			}
		}
		return s.options.Hub.Serve(ctx, c.m.Method, c.req.Interface(), visible, send)
	}
	if _, err := readParent(c.m.Resource, text(c.req, c.m.parent)); err != nil {
		return err
	}
	visible, err := s.allowList(ctx, c.m.Permission, text(c.req, c.m.parent))
	if err != nil {
		return err
	}
	return s.options.Hub.Serve(ctx, c.m.Method, c.req.Interface(), visible, send)
}
