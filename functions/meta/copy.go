package meta

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// Owner is the registry of the region that owns what there is. An answer that is
// not by the database that it always had is no answer.
type Owner interface {
	// Call does a unary method there, for who calls here.
	Call(ctx context.Context, as Caller, m *schema.Method, req proto.Message) (proto.Message, error)
	// Stream watches there, and sees everything.
	watch.Stream
}

// copies are what a registry has of that of another region: all of it. They are
// written by its Run alone, one object after the other, so that each change of
// the owner is one change here, and nobody who watches can tell them apart from
// what is owned here. What changed while the owner could not be reached is one
// change of each object.
type copies struct {
	s       *Service
	region  string
	owner   Owner
	retry   time.Duration
	methods map[string]*schema.Method

	mu sync.Mutex
	// seen are the versions that the owner's objects had when they were copied, by
	// which callers of this registry may say what they mean to change.
	seen map[resource.Name]store.Seq
	// changed is closed when seen changes.
	changed chan struct{}
}

// copyRetry is about how long to wait after the owner was lost.
const copyRetry = 2 * time.Second

// Follow makes the registry a copy of that of another region: what is to be
// changed is sent there, and everything is read here. It is called before the
// service is used. Retry is about how long to wait after the owner was lost; 0
// is 2 s.
func (s *Service) Follow(region string, owner Owner, retry time.Duration) {
	if retry == 0 {
		retry = copyRetry
	}
	c := &copies{
		s: s, region: region, owner: owner, retry: retry, methods: map[string]*schema.Method{},
		seen: map[resource.Name]store.Seq{}, changed: make(chan struct{}),
	}
	for _, m := range s.Schema().Methods {
		c.methods[string(m.Desc.Name())] = m
	}
	s.copies = c
}

// run copies until ctx ends.
func (c *copies) run(ctx context.Context) error {
	for ctx.Err() == nil {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return follow[*metav1.Region](ctx, c, "WatchRegions", "") })
		g.Go(func() error { return follow[*metav1.Service](ctx, c, "WatchServices", "") })
		g.Go(func() error { return follow[*metav1.Deployment](ctx, c, "WatchDeployments", "services/-") })
		g.Go(func() error { return follow[*metav1.Resource](ctx, c, "WatchResources", "services/-") })
		if err := g.Wait(); err != nil {
			c.s.log.LogAttrs(ctx, slog.LevelWarn, "the registry cannot be copied", slog.String("region", c.region), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.retry):
		}
	}
	return nil
}

// follow copies the objects of a type until ctx ends.
func follow[M proto.Message](ctx context.Context, c *copies, method, parent string) error {
	w := watch.NewWatcher[M](c.owner, c.methods[method], watch.WatcherOptions{Parent: parent, Retry: c.retry, RecoveryDeadline: -1, Logger: c.s.log})
	r := c.methods[method].Resource
	return w.Run(ctx, func(ctx context.Context, e watch.Event[M]) error {
		switch e.Kind {
		case watch.Set:
			return c.put(ctx, r, e.New)
		case watch.Removed:
			return c.drop(ctx, r, r.NameOf(e.Old))
		case watch.InSync:
			there := map[resource.Name]bool{}
			for _, m := range w.All() {
				there[r.NameOf(m)] = true
			}
			return c.sweep(ctx, r, there)
		case watch.LostSync, watch.Resync:
		}
		return nil
	})
}

// copied is why copies are written.
const copied = "COPIED"

// origin is what the context of the write of a copy has: of which region it is,
// and the metadata that it has there.
type origin struct {
	region   string
	metadata *resourcev1.Metadata
}

// originKey finds the origin in a context.
type originKey struct{}

// copying is the origin of what is written, nil if it is no copy.
func copying(ctx context.Context) *origin {
	o, _ := ctx.Value(originKey{}).(*origin)
	return o
}

// put makes an object of the owner's a copy here, or changes the one that there
// is. One that is the same already is not written, and nobody is told.
func (c *copies) put(ctx context.Context, r *schema.Resource, m proto.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, md := r.NameOf(m), r.MetadataOf(m)
	version, err := store.ParseVersion(md.GetResourceVersion())
	if err != nil {
		return fmt.Errorf("the version of %s: %w", name, err)
	}
	ctx = context.WithValue(ctx, originKey{}, &origin{c.region, md})
	err = c.s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		is, err := c.s.store.Get(ctx, r, name)
		switch {
		case fault.KindOf(err) == fault.NotFound:
		case err != nil:
			return err
		case r.MetadataOf(is).GetSyncing().GetOwningRegion() == c.region && sameObject(r, is, m):
			return nil
		}
		return c.s.store.Save(ctx, proto.Clone(m), store.SaveOptions{Reason: copied})
	})
	if err != nil {
		return fmt.Errorf("copying %s: %w", name, err)
	}
	c.note(name, version)
	return nil
}

// sameObject reports whether a copy is as the original, but for what every store
// says for itself.
func sameObject(r *schema.Resource, a, b proto.Message) bool {
	x, y := proto.Clone(a), proto.Clone(b)
	for _, m := range []proto.Message{x, y} {
		md := r.MetadataOf(m)
		md.ResourceVersion, md.Syncing = "", nil
	}
	return proto.Equal(x, y)
}

// drop removes a copy.
func (c *copies) drop(ctx context.Context, r *schema.Resource, name resource.Name) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx = context.WithValue(ctx, originKey{}, &origin{region: c.region})
	err := c.s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		return c.s.store.Delete(ctx, r, name, store.DeleteOptions{AllowMissing: true, Reason: copied})
	})
	if err != nil {
		return fmt.Errorf("removing the copy of %s: %w", name, err)
	}
	delete(c.seen, name)
	return nil
}

// sweep removes the copies of what the owner no longer has. What is known here
// alone, from a time when this registry was no copy, stays: it is for operators
// to remove.
func (c *copies) sweep(ctx context.Context, r *schema.Resource, there map[resource.Name]bool) error {
	var gone, alone []resource.Name
	err := c.s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := c.s.store.TxOf(ctx)
		gone, alone = nil, nil
		return tx.Scan(ctx, store.Scan{Type: r.Type}, func(_ *schema.Resource, m proto.Message) bool {
			switch name := r.NameOf(m); {
			case there[name]:
			case r.MetadataOf(m).GetSyncing().GetOwningRegion() == c.region:
				gone = append(gone, name)
			default:
				alone = append(alone, name)
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("reading the copies: %w", err)
	}
	for _, name := range gone {
		if err := c.drop(ctx, r, name); err != nil {
			return err
		}
	}
	if len(alone) > 0 {
		c.s.log.LogAttrs(ctx, slog.LevelWarn, "this is registered here alone, and not where the registry is", slog.String("region", c.region), slog.Any("names", alone))
	}
	return nil
}

// note notes which version of an object was copied. The lock is held.
func (c *copies) note(name resource.Name, version store.Seq) {
	c.seen[name] = version
	close(c.changed)
	c.changed = make(chan struct{})
}
