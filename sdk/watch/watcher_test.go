package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// stage is a Stream whose answers a test gives.
type stage struct {
	t     *testing.T
	p     *protocol
	calls chan *call
}

// call is a call of Watch on a stage.
type call struct {
	*stage
	request
	recv func(proto.Message) error
	end  chan error
}

// Watch implements [Stream].
func (s *stage) Watch(ctx context.Context, _ *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	c := &call{stage: s, request: readRequest(req), recv: recv, end: make(chan error)}
	select {
	case s.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next is the next call, which has to come within a while.
func (s *stage) next(within time.Duration) *call {
	s.t.Helper()
	select {
	case c := <-s.calls:
		return c
	case <-time.After(within + time.Millisecond): // of the bubble: everybody else waits then
		require.FailNow(s.t, "nobody calls")
		return nil
	}
}

// answer sends a response with changes, as text: "a=1@7" is that a has the
// value 1 by version 7, "-a" that it is gone.
func (c *call) answer(r response, changes ...string) {
	c.t.Helper()
	for _, s := range changes {
		r.changes = append(r.changes, c.change(s))
	}
	require.NoError(c.t, c.recv(c.p.write(r)))
	synctest.Wait()
}

// change is the change of a text.
func (c *call) change(s string) protoreflect.Message {
	if id, ok := strings.CutPrefix(s, "-"); ok {
		return c.p.removedChange(resource.Name("projects/p/robots/"+id), 0)
	}
	var id, value string
	var version int64
	s = strings.NewReplacer("=", " ", "@", " ").Replace(s)
	_, err := fmt.Sscan(s, &id, &value, &version)
	require.NoError(c.t, err)
	return c.p.setChange(&samplev1.Robot{
		Name: "projects/p/robots/" + id, DisplayName: value,
		Metadata: &resourcev1.Metadata{ResourceVersion: store.FormatVersion(store.Seq(version))},
	}, 0, 0, true)
}

// play runs a Watcher on a stage in a bubble of its own. Told returns the
// events since it was called last: "+a=1" came, "a=1→2" changed, "-a=1" went,
// and the names of the others.
func play(t *testing.T, o WatcherOptions, f func(s *stage, w *Watcher[*samplev1.Robot], told func() string)) {
	t.Helper()
	method := robots(t)
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, p: protocolOf(method), calls: make(chan *call)}
		w := NewWatcher[*samplev1.Robot](s, method, o)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var log []string
		done := make(chan error, 1)
		go func() {
			done <- w.Run(ctx, func(_ context.Context, e Event[*samplev1.Robot]) error {
				mu.Lock()
				defer mu.Unlock()
				log = append(log, describe(e))
				return nil
			})
		}()
		f(s, w, func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { log = nil }()
			return strings.Join(log, " ")
		})
		cancel()
		require.NoError(t, <-done)
	})
}

// describe is an event as a text.
func describe(e Event[*samplev1.Robot]) string {
	id := resource.Name(e.Old.GetName() + e.New.GetName()).ID()
	filters := strings.Repeat("'", int(e.Filters))
	switch {
	case e.Kind == Set && e.Old == nil:
		return "+" + id + "=" + e.New.GetDisplayName() + filters
	case e.Kind == Set:
		return id + "=" + e.Old.GetDisplayName() + "→" + e.New.GetDisplayName() + filters
	case e.Kind == Removed:
		return "-" + id + "=" + e.Old.GetDisplayName() + filters
	}
	return map[Kind]string{InSync: "InSync", LostSync: "LostSync", Resync: "Resync"}[e.Kind] + filters
}

// current is a response that ends a set of changes.
func current(token string) response { return response{current: true, token: token, size: -1} }

// part is a response in the middle of a set.
func part() response { return response{size: -1} }

// SPEC 1.F 39, 40: nothing is told before the set of changes is complete, and a
// soft reset drops what was not, and nothing else.
func TestWatcher_CommitsSets(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{Parent: "projects/p"}, func(s *stage, w *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		require.Equal(t, resourcev1.WatchType_STATELESS, c.kind)
		require.Equal(t, "projects/p", c.parent)
		c.answer(part(), "a=1@1", "b=1@2")
		require.Empty(t, told())
		c.answer(current("t1"), "c=1@3")
		require.Equal(t, "+a=1 +b=1 +c=1 InSync", told())

		c.answer(part(), "a=2@4", "-b")
		c.answer(response{soft: true, size: -1})
		require.Empty(t, told())
		c.answer(current("t2"), "c=2@5")
		require.Equal(t, "c=1→2", told())
		require.Len(t, w.All(), 3)
		a, ok := w.Get("projects/p/robots/a")
		require.True(t, ok)
		require.Equal(t, "1", a.GetDisplayName())
		c.end <- nil
		require.Equal(t, "t2", s.next(time.Minute).resumeToken)
	})
}

// SPEC 1.F 41: a hard reset invalidates the token, and of the objects only what
// is another afterwards is told.
func TestWatcher_HardReset(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{}, func(s *stage, w *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		c.answer(current("t1"), "a=1@1", "b=1@2", "c=1@3")
		require.Equal(t, "+a=1 +b=1 +c=1 InSync", told())
		c.answer(part(), "c=9@9")
		c.answer(response{hard: true, size: -1})
		c.answer(part(), "a=1@1")
		require.Len(t, w.All(), 3) // as they were, until it is known better
		c.end <- errors.New("broken")
		c = s.next(time.Minute)
		require.Empty(t, c.resumeToken)
		c.answer(part(), "a=1@1")
		c.answer(current("t2"), "b=0@1") // of a store that was put back
		require.Equal(t, "b=1→0 -c=1 InSync", told())
		c.end <- nil
		require.Equal(t, "t2", s.next(time.Minute).resumeToken)
	})
}

// SPEC 1.F 42: whoever has another number of objects than he should begins
// again.
func TestWatcher_SnapshotSize(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{}, func(s *stage, _ *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		c.answer(response{current: true, token: "t1", size: 2}, "a=1@1", "b=1@2")
		require.Equal(t, "+a=1 +b=1 InSync", told())
		c.answer(response{current: true, token: "t2", size: 1}, "-x", "-a")
		require.Equal(t, "-a=1", told())
		require.NoError(t, c.recv(c.p.write(response{current: true, token: "t3", size: 2, changes: []protoreflect.Message{c.change("b=2@5")}})))
		_ = c.recv(c.p.write(response{current: true, token: "t4", size: 2, changes: []protoreflect.Message{c.change("z=2@6")}}))
		require.Equal(t, "b=1→2", told()) // and nothing that came behind

		start := time.Now()
		c = s.next(time.Minute)
		require.Empty(t, c.resumeToken)
		require.InDelta(t, 15, time.Since(start).Seconds(), 3)
		c.answer(response{current: true, token: "t4", size: 2}, "b=2@5", "d=1@4")
		require.Equal(t, "+d=1 InSync", told())
	})
}

// fail ends a call, and returns the one that comes instead.
func (c *call) fail(err error, within time.Duration) *call {
	c.t.Helper()
	c.end <- err
	return c.next(within)
}

// errDown is an outage.
var errDown = &fault.Error{Kind: fault.Unavailable}

// SPEC 1.F 44: outages shorter than the deadline are hidden, however many.
func TestWatcher_HidesShortOutages(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{}, func(s *stage, _ *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		c.answer(current("t1"), "a=1@1")
		require.Equal(t, "+a=1 InSync", told())
		for range 50 {
			for range 10 { // at most 3 minutes
				start := time.Now()
				c = c.fail(errDown, time.Minute)
				require.Equal(t, "t1", c.resumeToken)
				require.InDelta(t, 15, time.Since(start).Seconds(), 3)
			}
			c.answer(current("t1"))
		}
		require.Empty(t, told())
		c.answer(current("t2"), "a=2@2")
		require.Equal(t, "a=1→2", told())
	})
}

// SPEC 1.F 44: after a longer one comes LostSync, then Resync, then what
// happened meanwhile.
func TestWatcher_LostSync(t *testing.T) {
	t.Parallel()
	f := func(deadline, outage time.Duration, lost string) {
		play(t, WatcherOptions{RecoveryDeadline: deadline}, func(s *stage, _ *Watcher[*samplev1.Robot], told func() string) {
			c := s.next(0)
			c.answer(current("t1"), "a=1@1", "b=1@2", "c=1@3")
			require.Equal(t, "+a=1 +b=1 +c=1 InSync", told())
			start := time.Now()
			for time.Since(start) < outage {
				c = c.fail(errDown, time.Minute)
			}
			require.Equal(t, lost, told())
			c.answer(part(), "a=2@4", "d=1@5")
			c.answer(response{soft: true, size: -1})
			c.answer(part(), "a=2@4", "-b", "d=1@5")
			require.Empty(t, told())
			c.answer(current("t2"), "a=3@6", "-c", "c=1@3")
			if lost == "" {
				require.Equal(t, "a=1→2 -b=1 +d=1 a=2→3 -c=1 +c=1", told())
				return
			}
			require.Equal(t, "Resync a=1→3 -b=1 +d=1 InSync", told())
			c = c.fail(errDown, time.Minute)
			c.answer(current("t3"), "a=4@7")
			require.Equal(t, "a=3→4", told())
		})
	}
	f(0, 4*time.Minute, "")
	f(0, 6*time.Minute, "LostSync")
	f(0, 600*time.Minute, "LostSync")
	f(time.Minute, 2*time.Minute, "LostSync")
	f(-1, 600*time.Minute, "")
}

// TestWatcher_LostBeforeItBegan shows that who never hears anything is told.
func TestWatcher_LostBeforeItBegan(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{}, func(s *stage, _ *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		c.answer(part(), "a=1@1")
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		require.Equal(t, "LostSync", told())
		c.answer(current("t1"), "b=1@2")
		require.Equal(t, "Resync +a=1 +b=1 InSync", told())
	})
}

// SPEC 1.F 44 (B21): an object that matches several filters is one object, and
// the newest of what the streams say of it counts.
func TestWatcher_AnyOfSeveralFilters(t *testing.T) {
	t.Parallel()
	o := WatcherOptions{Filters: []string{"f", "g"}, ReadMask: []string{"display_name"}}
	play(t, o, func(s *stage, w *Watcher[*samplev1.Robot], told func() string) {
		c, d := s.next(0), s.next(0)
		if c.filter == "g" {
			c, d = d, c
		}
		require.Equal(t, []string{"f", "g"}, []string{c.filter, d.filter})
		require.Contains(t, c.mask, "metadata.resource_version")
		c.answer(current("c1"), "a=1@1", "b=1@2")
		require.Equal(t, "+a=1 +b=1", told())
		d.answer(current("d1"), "b=1@2", "e=1@3")
		require.Equal(t, "+e=1 InSync", told())

		c.answer(current("c2"), "b=2@4", "b=3@5")
		d.answer(current("d2"), "b=2@4")
		require.Equal(t, "b=1→2 b=2→3", told())
		d.answer(current("d3"), "b=3@5")
		c.answer(current("c3"), "-b")
		require.Empty(t, told())
		d.answer(current("d4"), "-b")
		require.Equal(t, "-b=3", told())

		// A hard reset of one begins both again.
		d.answer(response{hard: true, size: -1})
		c, d = s.next(0), s.next(0)
		if c.filter == "g" {
			c, d = d, c
		}
		require.Empty(t, c.resumeToken+d.resumeToken)
		d.answer(current("d5"), "e=1@3")
		require.Empty(t, told())
		c.answer(response{current: true, token: "c4", size: 1}, "z=1@6")
		require.Equal(t, "+z=1 -a=1 InSync", told())
		require.Len(t, w.All(), 2)
	})
}

// TestWatcher_ResetFilters shows that events say by which filters they came, and
// that objects of the old ones stay until the new ones are known.
func TestWatcher_ResetFilters(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{Filters: []string{"f"}}, func(s *stage, w *Watcher[*samplev1.Robot], told func() string) {
		old := s.next(0)
		old.answer(current("t1"), "a=1@1", "b=1@2")
		require.Equal(t, "+a=1 +b=1 InSync", told())
		require.Equal(t, FilterVersion(1), w.ResetFilters("g"))
		c := s.next(0)
		require.Equal(t, "g", c.filter)
		require.Empty(t, c.resumeToken)
		_ = old.recv(old.p.write(current("t9"))) // too late
		require.Empty(t, told())
		c.answer(part(), "b=1@2")
		require.Len(t, w.All(), 2)
		c.answer(current("t2"), "c=1@3")
		require.Equal(t, "+c=1' -a=1' InSync'", told())
	})
}

// TestWatcher_EndsWithWhatCannotSucceed shows which errors are retried.
func TestWatcher_Errors(t *testing.T) {
	t.Parallel()
	play(t, WatcherOptions{}, func(s *stage, _ *Watcher[*samplev1.Robot], told func() string) {
		c := s.next(0)
		c.answer(current("t1"), "a=1@1")
		c = c.fail(&fault.Error{Kind: fault.Denied}, time.Minute)
		require.Equal(t, "t1", c.resumeToken)
		c = c.fail(&fault.Error{Kind: fault.Invalid, Reason: "INVALID_RESUME_TOKEN"}, time.Minute)
		require.Empty(t, c.resumeToken)
		c.answer(current("t2"), "b=1@1")
		require.Equal(t, "+a=1 InSync +b=1 -a=1 InSync", told())
	})
	f := func(end error, handle error, many int) {
		method := robots(t)
		synctest.Test(t, func(t *testing.T) {
			s := &stage{t: t, p: protocolOf(method), calls: make(chan *call)}
			w := NewWatcher[*samplev1.Robot](s, method, WatcherOptions{Filters: make([]string, many)})
			done := make(chan error, 1)
			go func() {
				done <- w.Run(t.Context(), func(context.Context, Event[*samplev1.Robot]) error { return handle })
			}()
			if many == 1 {
				c := s.next(0)
				if end == nil {
					c.answer(current("t1"))
				} else {
					c.end <- end
				}
			}
			require.Error(t, <-done)
		})
	}
	f(&fault.Error{Kind: fault.Invalid, Reason: "INVALID_FILTER"}, nil, 1)
	f(nil, errDown, 1)
	f(nil, nil, 65)
}
