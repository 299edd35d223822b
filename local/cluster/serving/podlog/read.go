package podlog

import (
	"context"
	"io"
	"time"
)

// ReadOptions are the parameters of `kubectl logs`.
type ReadOptions struct {
	// Follow goes on until the run ends.
	Follow bool
	// Previous reads the run before the last.
	Previous bool
	// Since leaves out what is older; the zero time is everything.
	Since time.Time
	// Tail is how many lines are read at most of what there is; negative for all.
	Tail int64
	// Limit bounds the bytes that are read; 0 for no bound.
	Limit int64
	// Timestamps has every line begin with its time.
	Timestamps bool
}

// Read reads the log. Close the reader; one that follows also ends with ctx.
func (l *Log) Read(ctx context.Context, o ReadOptions) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{ctx: ctx, cancel: cancel, log: l, o: o, left: o.Limit}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.run = l.run
	if o.Previous {
		r.run--
	}
	r.next = l.first
	if o.Tail >= 0 {
		count := int64(0)
		i := len(l.lines)
		for i > 0 && count < o.Tail {
			i--
			if r.wants(l.lines[i]) {
				count++
			}
		}
		r.next = l.first + int64(i)
	}
	return r
}

// reader is one reading of a log.
type reader struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *Log
	o      ReadOptions
	run    int
	// next is the number of the next line, buf what is left of the last.
	next int64
	buf  []byte
	left int64
}

// wants reports whether a line is to be read.
func (r *reader) wants(e entry) bool { return e.run == r.run && !e.time.Before(r.o.Since) }

// Read waits for lines only if there are none at all.
func (r *reader) Read(p []byte) (int, error) {
	if r.o.Limit > 0 {
		if r.left <= 0 {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), r.left)]
	}
	for len(r.buf) == 0 {
		changed, end := r.fill(len(p))
		if len(r.buf) > 0 {
			break
		}
		if end {
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	r.left -= int64(n)
	return n, nil
}

// fill takes lines, about as many as are wanted. Without one it says what to
// wait for, and whether there will be none.
func (r *reader) fill(size int) (changed <-chan struct{}, end bool) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	r.next = max(r.next, l.first)
	for ; r.next < l.first+int64(len(l.lines)) && len(r.buf) < size; r.next++ {
		e := l.lines[r.next-l.first]
		if !r.wants(e) {
			continue
		}
		if r.o.Timestamps {
			r.buf = append(e.time.UTC().AppendFormat(r.buf, time.RFC3339Nano), ' ')
		}
		r.buf = append(append(r.buf, e.text...), '\n')
	}
	l.awaited = true
	return l.changed, !r.o.Follow || l.run != r.run || !l.running
}

// Close ends the reading.
func (r *reader) Close() error {
	r.cancel()
	return nil
}
