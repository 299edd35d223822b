package watch

import (
	"log/slog"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// change is a change of the store, decoded when somebody looks at it. It is
// shared by all who watch.
type change struct {
	store.Change
	// commit is the last change of its transaction.
	commit store.Seq
	types  *schema.Registry
	logger *slog.Logger

	once          sync.Once
	before, after proto.Message
}

// size is about what it takes in memory.
func (c *change) size() int { return len(c.Before) + len(c.After) + len(c.Name) }

// objects are the object before and after the change, nil where there is none,
// without secrets. They must not be changed.
func (c *change) objects() (before, after proto.Message) {
	c.once.Do(func() {
		c.before, c.after = c.decode(c.Before, c.BeforeVersion), c.decode(c.After, c.Seq)
	})
	return c.before, c.after
}

// decode is the object of a body. One that cannot be read is as if it were not
// there: it must not stop the watches of all others.
func (c *change) decode(body []byte, version store.Seq) proto.Message {
	r, ok := c.types.Type(c.Type)
	if body == nil || !ok {
		return nil
	}
	m, err := store.Decode(r, &store.Record{Type: c.Type, Name: c.Name, Version: version, Body: body})
	if err != nil {
		c.logger.Error("a change cannot be decoded", slog.String("name", string(c.Name)), slog.Int64("seq", int64(c.Seq)), slog.Any("error", err))
		return nil
	}
	redact(r, m)
	return m
}

// redact takes the secrets out of an object.
func redact(r *schema.Resource, m proto.Message) {
	for _, path := range r.Secrets {
		path.Clear(m.ProtoReflect())
	}
}

// projection is what is shown of an object.
type projection struct {
	// mask is what is asked for, and the name; compared is that without the
	// version, which every change changes.
	mask, compared fieldmask.Mask
	whole          bool
}

// newProjection is the projection that paths of a request ask for, and its one
// text. Nil is everything.
func newProjection(r *schema.Resource, paths []string) (projection, string, error) {
	if paths == nil {
		return projection{whole: true}, "*", nil
	}
	md := r.Message.Descriptor()
	mask, err := fieldmask.Parse(md, &fieldmaskpb.FieldMask{Paths: paths})
	if err != nil {
		return projection{}, "", invalid("read_mask", fault.ReasonOf(err), "%w", err)
	}
	p := projection{mask: fieldmask.Union(mask, known(md, string(r.Name.Name()))), whole: mask.IsFull()}
	p.compared = p.mask
	if r.Metadata != nil {
		p.compared = fieldmask.Subtract(p.mask, known(md, versionPath))
	}
	return p, p.mask.String(), nil
}

// versionPath is the path of the version in every type with metadata.
const versionPath = "metadata.resource_version"

// known is the mask of a path that there is.
func known(md protoreflect.MessageDescriptor, path string) fieldmask.Mask {
	p, err := fieldpath.Parse(md, path)
	if err != nil {
		panic("BUG: watch: " + err.Error())
	}
	return fieldmask.New(md, p)
}

// show is what is shown of an object, which it may share.
func (p projection) show(o proto.Message) proto.Message {
	if p.whole {
		return o
	}
	return fieldmask.Project(p.mask, o)
}

// differ reports whether two states of an object differ in what is shown,
// besides the version.
func (p projection) differ(a, b proto.Message) bool {
	return p.whole || !proto.Equal(fieldmask.Project(p.compared, a), fieldmask.Project(p.compared, b))
}

// view is what is watched, for all who watch the same.
type view struct {
	key      string
	resource *schema.Resource
	// prefix is the longest topic that every name begins with. Matches says
	// whether a name is one; nil is that all with the prefix are.
	prefix  string
	matches func(resource.Name) bool
	filter  *filter.Filter
	mask    projection

	// users are those who watch, and cursors those whom the Hub pushes to. The
	// Hub's mutex guards them.
	users   int
	cursors map[*cursor]bool
}

// concerns reports whether a change is about an object that may be in the view.
func (v *view) concerns(c *change) bool {
	return c.Type == v.resource.Type && strings.HasPrefix(string(c.Name), v.prefix) && (v.matches == nil || v.matches(c.Name))
}

// item is what a change is to a view.
type item struct {
	*change
	// was and is tell whether the object was in the view before and is after.
	was, is bool
	// touched is whether something is another of what the mask shows, besides
	// the version.
	touched bool
	// object is what is shown after the change, if it is. It is shared.
	object proto.Message

	made sync.Once
	msg  protoreflect.Message
}

// message is the item as it is told to who has seen what the view has. It is
// shared.
func (it *item) message(p *protocol) protoreflect.Message {
	it.made.Do(func() {
		if it.is {
			it.msg = p.setChange(it.object, 0, 0, !it.was)
		} else {
			it.msg = p.removedChange(it.Name, 0)
		}
	})
	return it.msg
}

// batch is some changes that concern a view.
type batch struct {
	view    *view
	changes []*change
	// through is how far the changes are complete.
	through store.Seq

	once  sync.Once
	items []*item
}

// all are the changes in the order of their commits, as the view has them.
func (b *batch) all() []*item {
	b.once.Do(func() {
		for _, c := range b.changes {
			if it := b.view.item(c); it.was || it.is {
				b.items = append(b.items, it)
			}
		}
	})
	return b.items
}

// item looks at a change.
func (v *view) item(c *change) *item {
	before, after := c.objects()
	it := &item{change: c, was: v.has(before), is: v.has(after)}
	if it.is {
		it.object = v.mask.show(after)
		it.touched = !it.was || v.mask.differ(before, after)
	}
	return it
}

// has reports whether an object that concerns the view is in it.
func (v *view) has(o proto.Message) bool { return o != nil && v.filter.Match(o.ProtoReflect()) }
