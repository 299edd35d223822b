package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// engine is what fires the timers knows.
type engine struct {
	// holder is who this is, and held until when it has the lease.
	holder string
	held   time.Time
	// loaded is whether queue is filled; at is the last change that is in it.
	loaded bool
	queue  queue
	at     store.Seq
	// full is how many entries there were when it was filled.
	full int
	// seen is the latest time that the clock showed.
	seen time.Time
}

const (
	// firedReason is what changes say that come of a timer that fired. The
	// queue has them already.
	firedReason = "TIMER_FIRED"
	// batch is how many timers fire with one write: more gains little, and all
	// wait for the slowest.
	batch = 256
	// look is how often the clock is looked at while nothing is due: it may have
	// been set.
	look = time.Second
	// gatherFor is how long changes gather before they are looked at.
	gatherFor = 10 * time.Millisecond
	// slack is how many entries of timers that were changed are kept before the
	// queue is filled anew.
	slack = 100_000
	// changesAtOnce is how many changes are read at once.
	changesAtOnce = 500
	// leaseFor is how long a lease holds, and leaseRenew when it is renewed.
	leaseFor   = 15 * time.Second
	leaseRenew = 5 * time.Second
	// retryPause is the pause after an error.
	retryPause = time.Second
)

// Run fires timers until ctx ends, and gives the lease back then.
func (s *Service) Run(ctx context.Context) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryPause)
		defer cancel()
		if err := s.Release(ctx); err != nil {
			s.log.WarnContext(ctx, "the lease is not given back", slog.Any("error", err))
		}
	}()
	for ctx.Err() == nil {
		next, err := s.Step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.log.WarnContext(ctx, "timers wait", slog.Any("error", err))
			s.pause(ctx, retryPause)
			continue
		}
		s.pause(ctx, min(next.Sub(s.now()), look))
	}
	return nil
}

// pause waits so long, or until a timer may have been changed.
func (s *Service) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if s.loaded && s.store.Driver().Wait(ctx, s.at) == nil {
		// Changes that come one after the other are looked at together.
		gather, stop := context.WithTimeout(ctx, gatherFor)
		defer stop()
		ctx = gather
	}
	<-ctx.Done()
}

// Step fires what is due now, as Run does again and again, and says when there
// is something to do next, at the latest.
func (s *Service) Step(ctx context.Context) (time.Time, error) {
	now := s.now()
	if mine, err := s.hold(ctx, now); err != nil || !mine {
		s.loaded = false
		return now.Add(leaseRenew), err
	}
	if now.Before(s.seen.Add(-bigStep)) || len(s.queue) > 2*s.full+slack {
		s.loaded = false
	}
	s.seen = now
	if !s.loaded {
		if err := s.load(ctx, now); err != nil {
			return now, fmt.Errorf("loading timers: %w", err)
		}
	}
	if err := s.follow(ctx, now); err != nil {
		return now, fmt.Errorf("following timers: %w", err)
	}
	for len(s.queue) > 0 && s.queue[0].due <= now.UnixMilli() {
		if err := s.fire(ctx, now); err != nil {
			return now, fmt.Errorf("firing timers: %w", err)
		}
		if s.options.Shared && s.now().After(s.held.Add(-leaseRenew)) {
			return now, nil // renewed first
		}
	}
	if len(s.queue) == 0 {
		return now.Add(look), nil
	}
	return time.UnixMilli(s.queue[0].due), nil
}

// hold reports whether this process is the one that fires timers, and takes or
// renews the lease if need be. One that ends implausibly late was written when
// the clock was wrong.
func (s *Service) hold(ctx context.Context, now time.Time) (bool, error) {
	if !s.options.Shared {
		return true, nil
	}
	if left := s.held.Sub(now); left > leaseFor-leaseRenew && left <= leaseFor {
		return true, nil
	}
	const name = "schedulerLeases/timers"
	mine, still := false, false
	err := s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		mine, still = false, false
		m, err := s.store.Get(ctx, s.lease, name)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		l, ok := m.(*schedulerv1.SchedulerLease)
		if still = ok && l.GetHolder() == s.holder; ok && !still {
			if left := l.GetExpireTime().AsTime().Sub(now); left > 0 && left <= 10*leaseFor {
				return nil
			}
		}
		mine = true
		return s.store.Save(ctx, &schedulerv1.SchedulerLease{Name: name, Holder: s.holder, ExpireTime: timestamppb.New(now.Add(leaseFor))}, store.SaveOptions{})
	})
	if err != nil || !mine {
		s.held = time.Time{}
		return false, err
	}
	s.held = now.Add(leaseFor)
	s.loaded = s.loaded && still // another may have fired timers since
	return true, nil
}

// Release gives the lease back, so that another process need not wait for its
// end.
func (s *Service) Release(ctx context.Context) error {
	if s.held.IsZero() {
		return nil
	}
	s.held, s.loaded = time.Time{}, false
	return s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		const name = "schedulerLeases/timers"
		m, err := s.store.Get(ctx, s.lease, name)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if l, ok := m.(*schedulerv1.SchedulerLease); err != nil || !ok || l.GetHolder() != s.holder {
			return err
		}
		return s.store.Delete(ctx, s.lease, name, store.DeleteOptions{})
	})
}

// load fills the queue from the store.
func (s *Service) load(ctx context.Context, now time.Time) error {
	snapshot, at, err := s.store.Driver().Snapshot(ctx)
	if err != nil {
		return err
	}
	var broken error
	q := s.queue[:0]
	err = snapshot.Scan(ctx, store.Scan{Type: schedulerv1.TimerType}, func(rec *store.Record) bool {
		var t schedulerv1.Timer
		if broken = proto.Unmarshal(rec.Body, &t); broken != nil {
			return false
		}
		if due, ok := dueOf(&t, now); ok {
			q = append(q, entry{due, rec.Name})
		}
		return true
	})
	if err = errors.Join(err, broken, snapshot.Close()); err != nil {
		return err
	}
	q.order()
	s.queue, s.full, s.at, s.loaded = q, len(q), at, true
	return nil
}

// dueOf is when a timer is to be looked at, if it is.
func dueOf(t *schedulerv1.Timer, now time.Time) (int64, bool) {
	next := t.GetStatus().GetNextFire()
	if t.GetStatus().GetState() != schedulerv1.TimerStatus_WAITING || next == nil {
		return 0, false
	}
	if back(t, now) {
		return now.UnixMilli(), true
	}
	return ceil(next.AsTime()), true
}

// ceil is a time in Unix milliseconds, rounded up: nothing fires before its
// time.
func ceil(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// follow adds to the queue what was changed since.
func (s *Service) follow(ctx context.Context, now time.Time) error {
	for {
		changes, err := s.store.Driver().Changes(ctx, s.at, changesAtOnce)
		if fault.ReasonOf(err) == "CHANGES_EXPIRED" {
			return s.load(ctx, now)
		}
		if err != nil {
			return err
		}
		for _, c := range changes {
			s.at = c.Seq
			if c.Type != schedulerv1.TimerType || c.After == nil || c.Reason == firedReason {
				continue
			}
			var t schedulerv1.Timer
			if err := proto.Unmarshal(c.After, &t); err != nil {
				return err
			}
			if due, ok := dueOf(&t, now); ok {
				s.queue.push(entry{due, c.Name})
			}
		}
		if len(changes) < changesAtOnce {
			return nil
		}
	}
}

// fire fires the next timers of the queue: it publishes their events, and then
// saves that they did. What fails is in the queue again.
func (s *Service) fire(ctx context.Context, now time.Time) (err error) {
	var taken []entry
	var names []resource.Name
	seen := map[resource.Name]bool{}
	for len(s.queue) > 0 && len(names) < batch && s.queue[0].due <= now.UnixMilli() {
		e := s.queue.pop()
		if !seen[e.name] {
			seen[e.name] = true
			taken, names = append(taken, e), append(names, e.name)
		}
	}
	defer func() {
		if err != nil {
			for _, e := range taken {
				s.queue.push(e)
			}
		}
	}()
	firings, err := s.plan(ctx, names, now)
	if err != nil || len(firings) == 0 {
		return err
	}
	if err := s.post(ctx, firings, now); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	return s.note(ctx, firings, now)
}

// plan reads timers, and says what those that are due do.
func (s *Service) plan(ctx context.Context, names []resource.Name, now time.Time) ([]*firing, error) {
	var firings []*firing
	err := s.store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		firings = nil
		found, err := s.store.BatchGet(ctx, s.timer, names)
		if err != nil {
			return err
		}
		for _, m := range found {
			t, ok := m.(*schedulerv1.Timer)
			if !ok || t == nil {
				continue
			}
			f, err := s.schedules.due(t, now)
			if err != nil { // what was valid when it was made is not any more
				s.log.ErrorContext(ctx, "a timer does not fire", slog.String("timer", t.GetName()), slog.Any("error", err))
				continue
			}
			if f != nil {
				firings = append(firings, f)
			}
		}
		return nil
	})
	return firings, err
}

// note saves that timers fired, and has the queue know when they do again.
func (s *Service) note(ctx context.Context, firings []*firing, now time.Time) error {
	names := make([]resource.Name, len(firings))
	for i, f := range firings {
		names[i] = resource.Name(f.timer.GetName())
	}
	var again []entry
	err := s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		again = again[:0]
		found, err := s.store.BatchGet(ctx, s.timer, names)
		if err != nil {
			return err
		}
		for i, f := range firings {
			t, ok := found[i].(*schedulerv1.Timer)
			if !ok || t == nil || t.GetMetadata().GetUid() != f.timer.GetMetadata().GetUid() {
				continue
			}
			f.apply(t, now)
			if t.GetStatus().GetState() == schedulerv1.TimerStatus_DONE && t.GetDeleteWhenDone() {
				err = s.store.Delete(ctx, s.timer, names[i], store.DeleteOptions{Reason: firedReason})
			} else {
				if next := t.GetStatus().GetNextFire(); next != nil {
					again = append(again, entry{ceil(next.AsTime()), names[i]})
				}
				err = s.store.Save(ctx, t, store.SaveOptions{Update: true, Reason: firedReason})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("saving: %w", err)
	}
	for _, e := range again {
		s.queue.push(e)
	}
	return nil
}
