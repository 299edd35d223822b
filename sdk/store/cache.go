package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
	"selvedge.dev/sdk/schema"
)

// cache keeps decoded objects, which are shared: nobody changes them. Hidden
// types are not in it, since no feed tells of them.
type cache = readcache.Cache[key, proto.Message]

// forget empties the cache.
func (s *Store) forget() {
	if s.o.Cached > 0 {
		s.keep.Store(readcache.New[key, proto.Message](s.o.Cached, 0))
	}
}

// cached reads an object by the cache. A commit of this store drops what it
// wrote before it returns, so no answer is older than the commits before the
// question.
func (s *Store) cached(ctx context.Context, c *cache, t *Tx, r *schema.Resource, name resource.Name) (proto.Message, error) {
	k := key{r.Type, name}
	if m, ok, err := c.Get(k); ok {
		return m, err
	}
	return c.Load(k, func() (proto.Message, error) {
		all, err := t.objects(ctx, r, []resource.Name{name})
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		if all[0] == nil {
			return nil, notFound("store.Get", name)
		}
		return all[0], nil
	})
}

// dropWrites forgets what a batch wrote.
func (s *Store) dropWrites(b *Batch) {
	if s.o.Written != nil {
		s.o.Written(b.Writes)
	}
	c := s.keep.Load()
	if c == nil {
		return
	}
	keys := make([]key, len(b.Writes))
	for i, w := range b.Writes {
		keys[i] = key{w.Type, w.Name}
	}
	c.Drop(keys...)
}

// retryPause is how long Follow and Tail wait after the database did not
// answer.
const retryPause = time.Second

// Follow keeps the cache right when other processes write to the database too,
// until ctx ends. Then a cached answer is as old as it takes a change to get
// here; where one process has the database to itself nobody needs to call it.
func (s *Store) Follow(ctx context.Context) error {
	at, err := s.newest(ctx)
	s.forget()
	for ctx.Err() == nil {
		if err == nil {
			at, err = s.follow(ctx, at)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if fault.ReasonOf(err) != "CHANGES_EXPIRED" {
			s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "the cache cannot follow the changes", slog.Any("error", err))
			pauseFor(ctx, retryPause)
		}
		at, err = s.newest(ctx)
		s.forget() // whatever there was between
	}
	return nil
}

// follow drops what the next changes are about, and returns the last of them.
func (s *Store) follow(ctx context.Context, at Seq) (Seq, error) {
	if err := s.driver.Wait(ctx, at); err != nil {
		return at, err
	}
	changes, err := s.driver.Changes(ctx, at, changesAtOnce)
	if err != nil {
		return at, err
	}
	var keys []key
	for _, c := range changes {
		keys, at = append(keys, key{c.Type, c.Name}), c.Seq
	}
	if c := s.keep.Load(); c != nil {
		c.Drop(keys...)
	}
	return at, nil
}

// newest is the last change of the database.
func (s *Store) newest(ctx context.Context) (Seq, error) {
	snap, seq, err := s.driver.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	return seq, snap.Close()
}

// pauseFor waits, at most until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
