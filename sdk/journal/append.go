package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"selvedge.dev/sdk/fault"
)

// request is one call of Append on its way to disk. Journal.mu guards it until
// its caller is woken.
type request struct {
	records [][]byte
	size    int // in frames
	first   Offset
	err     error
	leads   bool          // its caller commits the next group
	wake    chan struct{} // of capacity 1: the request is done, or leads
}

// newRequest makes one for the pool of a journal.
func newRequest() any { return &request{wake: make(chan struct{}, 1)} }

// Append adds records as consecutive offsets and returns the first of them
// once all are durable. With no records it returns End.
//
// After an error none of them is stored, except that they may appear after a
// restart. ctx bounds only the wait before a commit takes them, so a nil error
// may come after it ended. The slices are not used after the return.
//
// Kinds: Exhausted with reason JOURNAL_FULL or DISK_FULL and a
// fault.RetryAfter; TooLarge for a record above MaxRecord or a batch above 64
// MiB or MaxBytes; Unavailable when the file system fails, ctx ends or the
// journal is closed.
func (j *Journal) Append(ctx context.Context, records ...[]byte) (Offset, error) {
	const op = "journal.Append"
	if len(records) == 0 {
		return j.End(), nil
	}
	size, err := j.measure(records)
	if err != nil {
		return 0, wrap(op, err)
	}
	r := j.requests.Get().(*request)
	*r = request{records: records, size: size, wake: r.wake}
	if err := j.enqueue(ctx, r); err == nil {
		r.err = j.await(ctx, r)
	} else {
		r.err = err
	}
	first, err := r.first, r.err
	r.records = nil
	j.requests.Put(r)
	return first, wrap(op, err)
}

// measure is the size of records in frames.
func (j *Journal) measure(records [][]byte) (int, error) {
	size := len(records) * frameHeader
	for _, r := range records {
		if len(r) > j.options.MaxRecord {
			return 0, &fault.Error{Kind: fault.TooLarge, Err: fmt.Errorf("a record of %d bytes is above %d", len(r), j.options.MaxRecord)}
		}
		size += len(r)
	}
	if bound := min(maxQueuedBytes, j.options.MaxBytes-dataStart); int64(size) > bound {
		return 0, &fault.Error{Kind: fault.TooLarge, Err: fmt.Errorf("a batch of %d bytes is above %d", size, bound)}
	}
	return size, nil
}

// enqueue queues r as soon as the queue has room, and makes it the leader if
// there is none.
func (j *Journal) enqueue(ctx context.Context, r *request) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if j.closed {
			return ErrClosed
		}
		if ctx.Err() != nil {
			return ended(ctx, "waiting for room in the queue")
		}
		if j.queued == 0 || j.queued+r.size <= maxQueuedBytes {
			break
		}
		room := j.room.wait()
		j.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		j.mu.Lock()
	}
	j.queue = append(j.queue, r)
	j.queued += r.size
	switch {
	case !j.leading:
		j.leading, r.leads = true, true
		r.wake <- struct{}{}
	case j.queued >= maxGroupBytes:
		select {
		case j.crowd <- struct{}{}:
		default: // The leader has been told.
		}
	}
	return nil
}

// await returns when r is done, committing it if that falls to its caller.
func (j *Journal) await(ctx context.Context, r *request) error {
	select {
	case <-r.wake:
	case <-ctx.Done():
		if j.withdraw(r) {
			return ended(ctx, "waiting for the commit before")
		}
		<-r.wake
	}
	if r.leads {
		j.lead()
	}
	return r.err
}

// withdraw takes r out of the queue. It is too late when a leader has taken r
// or r leads.
func (j *Journal) withdraw(r *request) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, q := range j.queue {
		if q == r && !r.leads {
			j.queue = slices.Delete(j.queue, i, i+1)
			j.queued -= r.size
			j.room.send()
			return true
		}
	}
	return false
}

// lead commits one group, which begins with the leader's own request, and
// hands the lead to the first of those who queued meanwhile.
func (j *Journal) lead() {
	if j.options.CommitDelay > 0 {
		j.gather()
	}
	group := j.take()
	err := j.commit(group)

	j.mu.Lock()
	for _, r := range group {
		r.err = err
		j.queued -= r.size
	}
	if err != nil {
		j.failed++
	}
	if len(j.queue) > 0 {
		j.queue[0].leads = true
		j.queue[0].wake <- struct{}{}
	} else {
		j.leading = false
	}
	j.room.send()
	j.mu.Unlock()
	for _, r := range group[1:] {
		r.wake <- struct{}{}
	}
}

// gather waits for company until CommitDelay has passed or a full group has
// queued.
func (j *Journal) gather() {
	timer := time.NewTimer(j.options.CommitDelay)
	defer timer.Stop()
	for {
		j.mu.Lock()
		full := j.queued >= maxGroupBytes || j.closed
		j.mu.Unlock()
		if full {
			return
		}
		select {
		case <-j.crowd:
		case <-timer.C:
			return
		}
	}
}

// take removes from the queue the first request and those behind it that go
// into the same segment and write.
func (j *Journal) take() []*request {
	room := j.options.SegmentBytes - dataStart
	if s := j.active; s != nil {
		room = j.limit - s.tail
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	size := j.queue[0].size
	if int64(size) > room {
		room = j.options.SegmentBytes - dataStart // of the next segment
	}
	n := 1
	for n < len(j.queue) {
		if size += j.queue[n].size; size > maxGroupBytes || int64(size) > room {
			break
		}
		n++
	}
	group := slices.Clone(j.queue[:n])
	j.queue = slices.Delete(j.queue, 0, n)
	return group
}

// commit makes the group durable and visible. After an error nothing of it is
// visible and the active segment is no longer used.
func (j *Journal) commit(group []*request) error {
	size := 0
	for _, r := range group {
		size += r.size
	}
	if j.active == nil || j.active.tail+int64(size) > j.limit {
		if err := j.roll(int64(size)); err != nil {
			return err
		}
	}
	s := j.active
	end := j.encode(s, group, size)
	file, err := s.open(j.dir)
	if err == nil {
		_, err = file.WriteAt(j.buf, s.tail)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return errors.Join(err, j.abandon())
	}

	j.mu.Lock()
	s.mark(place{s.end, s.tail})
	s.tail += int64(size)
	s.end = end
	j.durable.Store(uint64(end))
	j.readable = end
	j.grown.send()
	j.mu.Unlock()
	return nil
}

// encode renders the group into buf, numbers its requests and returns the
// offset behind it.
func (j *Journal) encode(s *segment, group []*request, size int) Offset {
	if cap(j.buf) < size || cap(j.buf) > 2*maxGroupBytes {
		j.buf = make([]byte, 0, max(size, min(2*size, maxGroupBytes)))
	}
	j.buf = j.buf[:0]
	next := s.end
	for _, r := range group {
		r.first = next
		for _, data := range r.records {
			j.buf = s.codec.append(j.buf, uint32(next-s.first), len(j.buf) == 0, data)
			next++
		}
	}
	return next
}
