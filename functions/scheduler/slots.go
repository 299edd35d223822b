package scheduler

import (
	"cmp"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/functions/scheduler/cron"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
)

// The bounds of what is done for a timer at once. A timer with more to do comes
// again at once.
const (
	// maxSteps is how many slots are looked at: some 10 ms.
	maxSteps = 10_000
	// maxEvents is how many events are posted.
	maxEvents = 1_000
)

// The defaults of schedulerv1.Missed.
const (
	defaultGrace = time.Minute
	defaultEach  = 10
)

// bigStep is how far the clock is set back by somebody who corrects it. By less,
// timers wait until it is as late again; by that much, they go by the new time.
// It is what Vixie's cron takes.
const bigStep = 3 * time.Hour

// schedules reads the schedules of timers, and keeps what it read.
type schedules struct {
	mu sync.Mutex
	// read are the crons; emptied when there are maxRead.
	read map[string]*cron.Schedule
}

// maxRead bounds the crons that are kept, at about 300 bytes each.
const maxRead = 10_000

// cron is the schedule of a cron.
func (s *schedules) cron(c *schedulerv1.Cron) (*cron.Schedule, error) {
	key := c.GetExpression() + "\x00" + c.GetTimeZone() + "\x00" + strconv.Itoa(int(c.GetGap()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.read[key]; ok {
		return found, nil
	}
	parsed, err := cron.Parse(c.GetExpression())
	if err != nil {
		return nil, err
	}
	if parsed.Zone == nil || c.GetTimeZone() != "" {
		if parsed.Zone, err = cron.Zone(c.GetTimeZone()); err != nil {
			return nil, err
		}
	}
	parsed.SkipGaps = c.GetGap() == schedulerv1.Cron_SKIP
	if s.read == nil || len(s.read) >= maxRead {
		s.read = map[string]*cron.Schedule{}
	}
	s.read[key] = parsed
	return parsed, nil
}

// next is the first slot of a timer after that time, the zero time if there is
// none.
func (s *schedules) next(t *schedulerv1.Timer, after time.Time) (time.Time, error) {
	var slot time.Time
	switch {
	case t.GetAt() != nil:
		if at := t.GetAt().AsTime(); at.After(after) {
			slot = at
		}
	case t.GetInterval() != nil:
		anchor, period := t.GetInterval().GetAnchor().AsTime(), t.GetInterval().GetPeriod().AsDuration()
		n := after.Sub(anchor) / period
		if after.Before(anchor) {
			n = -(anchor.Sub(after) / period) - 1
		}
		for slot = anchor.Add(n * period); !slot.After(after); {
			slot = slot.Add(period)
		}
	case t.GetCron() != nil:
		c, err := s.cron(t.GetCron())
		if err != nil {
			return time.Time{}, err
		}
		slot = c.Next(after)
	}
	if end := t.GetEndTime(); end != nil && slot.After(end.AsTime()) {
		return time.Time{}, nil
	}
	return slot, nil
}

// fires is when a slot fires: at its time and the timer's jitter.
func fires(t *schedulerv1.Timer, slot time.Time) time.Time {
	jitter := t.GetJitter().AsDuration()
	if jitter <= 0 {
		return slot
	}
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendInt([]byte(t.GetName()), slot.UnixNano(), 10)) // never fails
	return slot.Add(time.Duration(h.Sum64() % uint64(jitter)).Truncate(time.Millisecond))
}

// slot is a slot that fires, with how many before it did not.
type slot struct {
	at     time.Time
	missed int
}

// firing is what a timer does now.
type firing struct {
	timer *schedulerv1.Timer
	// from is the slot that it begins with, next the one after it.
	from, next time.Time
	slots      []slot
	skipped    int64
}

// due is what a timer does now, nil for nothing.
func (s *schedules) due(t *schedulerv1.Timer, now time.Time) (*firing, error) {
	if t.GetStatus().GetState() != schedulerv1.TimerStatus_WAITING || t.GetStatus().GetNextSlot() == nil {
		return nil, nil
	}
	f := &firing{timer: t, from: t.GetStatus().GetNextSlot().AsTime()}
	if back(t, now) {
		var err error
		f.next, err = s.next(t, now)
		return f, err
	}
	grace := defaultGrace
	if g := t.GetMissed().GetGrace(); g != nil {
		grace = g.AsDuration()
	}
	var late, onTime []time.Time
	at := f.from
	for steps := 0; !at.IsZero() && steps < maxSteps && len(onTime) < maxEvents; steps++ {
		when := fires(t, at)
		if when.After(now) {
			break
		}
		if now.Sub(when) > grace {
			late = append(late, at)
		} else {
			onTime = append(onTime, at)
		}
		var err error
		if at, err = s.next(t, at); err != nil {
			return nil, err
		}
	}
	if len(late)+len(onTime) == 0 {
		return nil, nil
	}
	f.next = at
	f.choose(late, onTime, !at.IsZero() && now.Sub(fires(t, at)) > grace)
	return f, nil
}

// choose decides which of the slots that are due fire. More is whether there are
// late ones after them.
func (f *firing) choose(late, onTime []time.Time, more bool) {
	fire := 1
	switch f.timer.GetMissed().GetPolicy() {
	case schedulerv1.Missed_SKIP:
		fire = 0
	case schedulerv1.Missed_EACH:
		fire = int(cmp.Or(f.timer.GetMissed().GetMaxEach(), defaultEach))
	case schedulerv1.Missed_POLICY_UNSPECIFIED:
	}
	if more {
		fire = 0 // the last ones are yet to come
	}
	skip := max(len(late)-fire, 0)
	f.skipped = int64(skip)
	for i, at := range late[skip:] {
		x := slot{at: at}
		if i == 0 {
			x.missed = skip
		}
		f.slots = append(f.slots, x)
	}
	for _, at := range onTime {
		f.slots = append(f.slots, slot{at: at})
	}
	if m := f.timer.GetMaxFires(); m > 0 {
		if left := max(m-f.timer.GetStatus().GetFired(), 0); int64(len(f.slots)) >= left {
			f.slots, f.next = f.slots[:left], time.Time{}
		}
	}
}

// back reports whether the clock was set back by a correction since the timer
// fired.
func back(t *schedulerv1.Timer, now time.Time) bool {
	last := t.GetStatus().GetLastFire()
	return last != nil && last.AsTime().Sub(now) >= bigStep
}

// await says in the status which slot is next; the zero time is none any more.
func await(t *schedulerv1.Timer, next time.Time) {
	t.Status.State, t.Status.NextSlot, t.Status.NextFire = schedulerv1.TimerStatus_DONE, nil, nil
	if !next.IsZero() {
		t.Status.State, t.Status.NextSlot, t.Status.NextFire = schedulerv1.TimerStatus_WAITING, timestamppb.New(next), timestamppb.New(fires(t, next))
	}
}

// apply notes in a timer that it fired. It may be another than the one that was
// looked at: of that life, but changed meanwhile.
func (f *firing) apply(t *schedulerv1.Timer, now time.Time) {
	if t.Status == nil {
		t.Status = &schedulerv1.TimerStatus{}
	}
	t.Status.Fired += int64(len(f.slots))
	t.Status.Skipped += f.skipped
	if n := len(f.slots); n > 0 {
		t.Status.LastSlot, t.Status.LastFire = timestamppb.New(f.slots[n-1].at), timestamppb.New(now)
	} else if back(t, now) {
		t.Status.LastFire = nil // it was of another time
	}
	if t.GetStatus().GetState() == schedulerv1.TimerStatus_WAITING && t.GetStatus().GetNextSlot().AsTime().Equal(f.from) {
		await(t, f.next)
	}
}
