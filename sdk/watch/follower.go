package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// member is an object of the set.
type member[M proto.Message] struct {
	object M
	// in are the followers that have it, as bits, in that round.
	in    uint64
	round int
	// version is that of the object, or, if it is gone, that it had. It is gone
	// if it was removed and no follower brought one since that is not older.
	version store.Seq
	gone    bool
}

// follower follows one filter.
type follower struct {
	filter  string
	bit     uint64
	cancel  context.CancelFunc
	token   string
	pending []received
	size    int64
	// whole is whether it told all objects once, current whether it does not
	// lag behind, as far as is known.
	whole, current bool
}

// received is a change as it was received; without an object, that it is gone.
type received struct {
	name   resource.Name
	object proto.Message
}

// arrival is a response, or the end, of the stream of a follower.
type arrival struct {
	f       *follower
	r       response
	changes []received
	end     bool
	err     error
}

// begin begins a round after a pause: all objects are asked for anew, by every
// filter, with new followers. Those that are known stay until the round is
// complete. The stream of the follower that is given, if any, goes on.
func (w *Watcher[M]) begin(ctx context.Context, wg *sync.WaitGroup, goesOn *follower, pause time.Duration) error {
	w.mu.Lock()
	filters := slices.Clone(w.wanted)
	reset := w.filters != w.version
	w.filters = w.version
	w.mu.Unlock()
	if len(filters) == 0 {
		filters = []string{""}
	}
	if len(filters) > 64 {
		return &fault.Error{Op: "watch.Run", Kind: fault.Invalid, Reason: "TOO_MANY_FILTERS", Field: "filters", Err: errors.New("there are more than 64 filters")}
	}
	old := w.followers
	w.followers, w.round, w.complete = make([]*follower, len(filters)), w.round+1, false
	for i, text := range filters {
		w.followers[i] = &follower{filter: text, bit: 1 << i}
		if !reset && goesOn != nil && goesOn.bit == 1<<i {
			*goesOn = follower{filter: text, bit: 1 << i, cancel: goesOn.cancel}
			w.followers[i] = goesOn
		}
	}
	for _, f := range w.followers {
		if f != goesOn {
			w.connect(ctx, wg, f, pause)
		}
	}
	for _, f := range old {
		if f != goesOn || !slices.Contains(w.followers, f) {
			f.cancel()
		}
	}
	return nil
}

// connect starts the stream of a follower after a pause.
func (w *Watcher[M]) connect(ctx context.Context, wg *sync.WaitGroup, f *follower, pause time.Duration) {
	ctx, f.cancel = context.WithCancel(ctx)
	req := request{
		kind: resourcev1.WatchType_STATELESS, parent: w.o.Parent, filter: f.filter, mask: w.o.ReadMask,
		resumeToken: f.token, chunk: defaultChunk,
	}
	if len(w.followers) > 1 && len(req.mask) > 0 && w.method.Resource.Metadata != nil {
		// Which of two streams knows more is told by the version.
		req.mask = append(slices.Clone(req.mask), versionPath)
	}
	wg.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		arrive := func(a arrival) error {
			select {
			case w.in <- a:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := w.stream.Watch(ctx, w.method, w.p.newRequest(req), func(msg proto.Message) error {
			a := arrival{f: f, r: w.p.read(msg)}
			for _, c := range a.r.changes {
				name, o := w.p.readChange(c)
				a.changes = append(a.changes, received{name, o})
			}
			return arrive(a)
		})
		_ = arrive(arrival{f: f, end: true, err: err}) // or else nobody is there to know
	})
}

// receive handles what a stream brought.
func (w *Watcher[M]) receive(ctx context.Context, wg *sync.WaitGroup, a arrival) error {
	f := a.f
	switch {
	case !slices.Contains(w.followers, f):
		return nil
	case a.end:
		return w.ended(ctx, wg, a)
	case a.r.hard:
		w.o.Logger.LogAttrs(ctx, slog.LevelInfo, "watch begins again", slog.String("filter", f.filter), slog.String("reason", "hard reset"))
		goesOn := f
		if len(w.followers) > 1 {
			// What follows may have been read before what others told since, so
			// it could be older. With a new connection it is not.
			goesOn = nil
		}
		if err := w.begin(ctx, wg, goesOn, 0); err != nil || !slices.Contains(w.followers, f) {
			return err
		}
	case a.r.soft:
		f.pending = nil
	}
	f.pending = append(f.pending, a.changes...)
	if !a.r.current {
		return nil
	}
	if err := w.commit(f); err != nil {
		return err
	}
	f.token, f.whole, f.current = a.r.token, true, true
	if a.r.size >= 0 && a.r.size != f.size { // what is known is wrong
		w.o.Logger.LogAttrs(ctx, slog.LevelWarn, "watch begins again", slog.String("filter", f.filter), slog.String("reason", "snapshot size"),
			slog.Int64("expected", a.r.size), slog.Int64("actual", f.size))
		return w.begin(ctx, wg, nil, w.pause())
	}
	w.settle()
	return nil
}

// ended connects a follower again whose stream ended.
func (w *Watcher[M]) ended(ctx context.Context, wg *sync.WaitGroup, a arrival) error {
	f := a.f
	f.cancel()
	f.pending, f.current = nil, false
	kind, reason := fault.KindOf(a.err), fault.ReasonOf(a.err)
	switch {
	case a.err == nil:
	case reason == "INVALID_RESUME_TOKEN":
		f.token = ""
	case kind == fault.Invalid || kind == fault.Unsupported:
		return fmt.Errorf("watch %s: %w", w.method.Name, a.err)
	default:
		w.o.Logger.LogAttrs(ctx, slog.LevelWarn, "watch lost its connection", slog.String("filter", f.filter), slog.Any("error", a.err))
	}
	if f.whole && f.token == "" {
		// Where it was is not known: all must be told again.
		return w.begin(ctx, wg, nil, w.pause())
	}
	w.connect(ctx, wg, f, w.pause())
	return nil
}

// pause is how long to wait before the next connection: not all at once.
func (w *Watcher[M]) pause() time.Duration {
	return time.Duration(float64(w.o.Retry) * (0.8 + 0.4*rand.Float64()))
}
