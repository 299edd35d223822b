package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
)

// maxUnsynced is how many groups are committed before what was committed first
// is on the disk.
const maxUnsynced = 4

// group is a group of batches that was committed.
type group struct {
	requests []*request
	// head is the head after it, and before the last change before it. Changes
	// are those that it made, nil if they are not known.
	head    Head
	before  store.Seq
	changes []store.Change
}

// disk makes what was committed durable, while the next group is being
// committed, and answers those who wait for that: callers of Commit, and those
// who read what is not on the disk yet.
type disk struct {
	sync   func() error
	groups chan group
	// asked has something in it when somebody waits who committed nothing.
	asked chan struct{}

	mu sync.Mutex
	// durable is the head up to which everything is on the disk, and wanted the
	// one up to which somebody waits for that.
	durable, wanted store.Seq
	// failed is set for good: what the system could not write once it may have
	// forgotten since.
	failed error
	// more is closed when there is news.
	more chan struct{}
}

// newDisk makes a disk.
func newDisk(sync func() error) *disk {
	return &disk{sync: sync, groups: make(chan group, maxUnsynced), asked: make(chan struct{}, 1), more: make(chan struct{})}
}

// run answers groups with done until there are no more.
func (d *disk) run(log *slog.Logger, done func(group, error)) {
	defer func() { d.end(d.durable, Closed(commitOp)) }()
	for {
		var all []group
		select {
		case g, ok := <-d.groups:
			if !ok {
				return
			}
			all = append(all, g)
		case <-d.asked:
		}
		for more := true; more; {
			select {
			case g, ok := <-d.groups:
				if more = ok; ok {
					all = append(all, g)
				}
			default:
				more = false
			}
		}
		err := d.flush(all)
		if err != nil {
			log.Error("commits do not reach the disk: nothing is committed anymore until the database is opened again", slog.Any("error", err))
		}
		for _, g := range all {
			done(g, err)
		}
	}
}

// flush makes durable what was committed up to the last of the groups, and what
// is wanted besides.
func (d *disk) flush(all []group) error {
	d.mu.Lock()
	target := d.wanted
	for _, g := range all {
		target = max(target, g.head.Seq)
	}
	failed, durable := d.failed, d.durable
	d.mu.Unlock()
	if failed != nil || target <= durable {
		return failed
	}
	err := d.sync()
	if err != nil {
		target = durable
		err = &fault.Error{Op: commitOp, Kind: fault.Unavailable, Reason: "OUTCOME_UNKNOWN", Err: fmt.Errorf("%w: writing to the disk: %w", ErrUnknown, err)}
	}
	d.end(target, err)
	return err
}

// end is how an attempt to make everything durable up to that head ended.
func (d *disk) end(durable store.Seq, failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable, d.failed = durable, failed
	close(d.more)
	d.more = make(chan struct{})
}

// broken is why nothing is made durable anymore, nil if it is.
func (d *disk) broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// await waits until everything is durable up to that head, which was read from
// the database.
func (d *disk) await(ctx context.Context, head store.Seq) error {
	for {
		d.mu.Lock()
		durable, failed, more := d.durable, d.failed, d.more
		d.wanted = max(d.wanted, head)
		d.mu.Unlock()
		switch {
		case durable >= head:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case d.asked <- struct{}{}:
		default:
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Unavailable("sqlstore.Await", ctx.Err())
		}
	}
}
