package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/ledger"
)

// delivery is entries of one project on their way in through a door.
type delivery struct {
	// door is the stream of the ledger that its losses are counted in; "" says
	// that somebody else counts them.
	door string
	// project is the id of the project, bucket the id of the bucket that the
	// writer names, "" for none.
	project, bucket string
	entries         []logstore.Entry
	// whole says that either all entries are written or none.
	whole bool
	// dry says to check and not to write.
	dry bool
}

// write puts the entries where they belong. The result has for each entry nil,
// or why it was refused; an error is of all.
func (d *Doors) write(ctx context.Context, in *delivery) ([]error, error) {
	if err := checkProject(in.project); err != nil {
		if denied := d.allow(ctx, CreateEntries, ""); denied != nil {
			return nil, denied
		}
		return nil, err
	}
	s, err := d.o.Registry.scope(ctx, in.project)
	if err != nil {
		return nil, err
	}
	b, err := d.writable(ctx, s, in.bucket)
	if err != nil {
		return nil, err
	}
	return d.put(ctx, s, b, in)
}

// put is write into a bucket, for whoever may.
func (d *Doors) put(ctx context.Context, s *scope, b *bucket, in *delivery) ([]error, error) {
	verdicts := make([]error, len(in.entries))
	good := make([]logstore.Entry, 0, len(in.entries))
	place := make([]int, 0, len(in.entries))
	now := d.o.Now().UTC()
	for i := range in.entries {
		e := &in.entries[i]
		e.Project, e.Bucket, e.Received = in.project, b.name.ID(), now
		if e.Time.IsZero() {
			e.Time = now
		}
		if verdicts[i] = s.check(b, e); verdicts[i] == nil {
			verdicts[i] = checkEntry(e)
		}
		if verdicts[i] == nil {
			good, place = append(good, *e), append(place, i)
		}
	}
	if in.dry || in.whole && len(good) < len(in.entries) {
		return verdicts, nil
	}
	if len(good) > 0 {
		found, err := d.o.Intake.Write(ctx, good)
		if err != nil {
			return nil, fmt.Errorf("write entries: %w", err)
		}
		for i := range found {
			verdicts[place[i]] = found[i].Err
		}
	}
	d.lost.add(in.project, in.door, losses(verdicts))
	return verdicts, nil
}

// checkEntry is why an entry is not valid, nil if it is. One without an insert id
// is given one when it is taken in.
func checkEntry(e *logstore.Entry) error {
	if e.InsertID != "" {
		return e.Check()
	}
	given := *e
	given.InsertID = "-"
	return given.Check()
}

// losses are the reasons of verdicts, with how often they occur.
func losses(verdicts []error) []function.Loss {
	var out []function.Loss
next:
	for _, err := range verdicts {
		if err == nil {
			continue
		}
		reason := fault.ReasonOf(err)
		for i := range out {
			if out[i].Reason == reason {
				out[i].Count++
				continue next
			}
		}
		out = append(out, function.Loss{Reason: reason, Count: 1})
	}
	return out
}

// count is how many entries losses are of.
func count(all []function.Loss) int {
	n := 0
	for _, l := range all {
		n += l.Count
	}
	return n
}

// maxWaiting bounds the lines of losses that wait for the ledger; beyond, they
// are added up without their projects.
const maxWaiting = 4096

// line is a line of the ledger.
type line struct{ project, door, reason string }

// lost adds up losses until the ledger is told.
type lost struct {
	mu      sync.Mutex
	waiting map[line]int
}

// add adds losses.
func (l *lost) add(project, door string, all []function.Loss) {
	if len(all) == 0 || door == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[line]int{}
	}
	for _, x := range all {
		at := line{project, door, x.Reason}
		if _, there := l.waiting[at]; !there && len(l.waiting) >= maxWaiting {
			at = line{"", door, x.Reason}
		}
		l.waiting[at] += x.Count
	}
}

// Lost counts entries of a project that are lost before they come to a door of
// these: door is the stream of the ledger.
func (d *Doors) Lost(project, door, reason string, n int) {
	d.lost.add(project, door, []function.Loss{{Reason: reason, Count: n}})
}

// take takes what waits.
func (l *lost) take() map[line]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.waiting
	l.waiting = nil
	return out
}

// tellEvery is how often the ledger is told what was refused.
const tellEvery = time.Second

// Run tells the ledger what was refused, until ctx ends and once more then.
func (d *Doors) Run(ctx context.Context) error {
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return d.Tell(last)
		case <-ticker.C:
			if err := d.Tell(ctx); err != nil && ctx.Err() == nil {
				d.o.Logger.ErrorContext(ctx, "refused entries not counted yet", slog.Any("error", err))
			}
		}
	}
}

// Tell tells the ledger what was refused since the last time. After an error it
// still waits.
func (d *Doors) Tell(ctx context.Context) error {
	waiting := d.lost.take()
	if len(waiting) == 0 || d.o.Ledger == nil {
		return nil
	}
	now := d.o.Now()
	var all []ledger.Loss
	doors := map[string]bool{}
	for at, n := range waiting {
		doors[at.door] = true
		all = append(all, ledger.Loss{
			Project: at.project, Stream: at.door, Offset: uint64(now.UnixNano()) + uint64(len(all)), Reason: at.reason, Count: n,
			Source: "//selvedge.dev/projects/" + at.project, Time: now,
		})
	}
	if err := d.o.Ledger.Record(ctx, all); err != nil {
		for at, n := range waiting {
			d.lost.add(at.project, at.door, []function.Loss{{Reason: at.reason, Count: n}})
		}
		return fmt.Errorf("count refused entries: %w", err)
	}
	var err error
	for door := range doors { // none of them is told of again
		err = errors.Join(err, d.o.Ledger.Passed(ctx, door, uint64(now.UnixNano())))
	}
	return err
}
