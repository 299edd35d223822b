package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
)

// Append implements logstore.Writer. An entry that the engine cannot keep is
// Invalid, or TooLarge, and then none of them is added.
func (s *Store) Append(ctx context.Context, entries []logstore.Entry) error {
	const op = "logstore/embedded.Append"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	if s.engine.IsReadOnly() {
		return &fault.Error{
			Op: op, Name: s.dir, Kind: fault.Exhausted, Reason: journal.ReasonDiskFull,
			Err: fmt.Errorf("less than %d bytes are free on the disk", s.options.MinFreeBytes),
		}
	}
	if !s.options.Once {
		s.sieving.Lock()
		defer s.sieving.Unlock()
		var err error
		if entries, err = s.sieve(ctx, entries); err != nil {
			return failed(op, err)
		}
	}
	s.adding.RLock()
	defer s.adding.RUnlock()
	var chunks []*chunk
	for some := range slices.Chunk(entries, chunkRows) {
		c := &chunk{entries: some, rows: logstorage.GetLogRows(nil, nil, nil, nil, ""), fresh: make(map[streamKey]bool), indexes: make(map[kin]*index), days: make(map[string]bool)}
		defer logstorage.PutLogRows(c.rows)
		chunks = append(chunks, c)
	}
	each(chunks, func(c *chunk) { c.err = s.convert(ctx, c) })
	for _, c := range chunks {
		if c.err != nil {
			return &fault.Error{Op: op, Name: c.failed, Kind: fault.KindOf(c.err), Reason: fault.ReasonOf(c.err), Err: c.err}
		}
	}
	s.daysMu.Lock()
	for _, c := range chunks {
		for d := range c.days {
			s.days[d] = true
		}
	}
	s.daysMu.Unlock()
	each(chunks, func(c *chunk) { s.engine.MustAddRows(c.rows) })
	s.showing.Lock()
	defer s.showing.Unlock()
	for _, c := range chunks {
		s.streams.learn(c.fresh)
	}
	s.hidden = true
	return nil
}

// chunkRows is how many entries of an Append are made rows in one piece: a
// megabyte or so, which is what the engine makes a part of, and few enough for all
// processors to have a piece of a batch.
const chunkRows = 2_500

// chunk is a piece of an Append.
type chunk struct {
	entries []logstore.Entry
	rows    *logstorage.LogRows
	// fresh are the streams and days the days of the rows that may be new, indexes
	// the promoted labels of the entries so far.
	fresh   map[streamKey]bool
	days    map[string]bool
	indexes map[kin]*index
	// last is the bucket of the last row, tenant what the engine knows it by.
	last   bucket
	tenant logstorage.TenantID
	// err is why there are no rows, failed the insert id of the entry whose
	// fault that is.
	err    error
	failed string
}

// each does something with every chunk, on all processors.
func each(chunks []*chunk, do func(c *chunk)) {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(chunks)); i = next.Add(1) - 1 {
			do(chunks[i])
		}
	}
	var others sync.WaitGroup
	for range min(len(chunks), runtime.GOMAXPROCS(0)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// sieve leaves out the entries that are there.
func (s *Store) sieve(ctx context.Context, entries []logstore.Entry) ([]logstore.Entry, error) {
	known, err := once.Known(ctx, s, entries)
	if err != nil {
		return nil, fmt.Errorf("look for duplicates: %w", err)
	}
	var kept []logstore.Entry
	for i := range entries {
		if k := once.KeyOf(&entries[i]); !known[k] {
			known[k] = true
			kept = append(kept, entries[i])
		}
	}
	return kept, nil
}

// secondsPerDay and dayFormat are of days as the engine divides and names them.
const (
	secondsPerDay = 24 * 60 * 60
	dayFormat     = "20060102"
)

// dayOf is the number of the day of an entry.
func dayOf(e *logstore.Entry) int64 { return e.Time.Unix() / secondsPerDay }

// convert makes the rows of a chunk.
func (s *Store) convert(ctx context.Context, c *chunk) error {
	r := unused.Get().(*row)
	defer unused.Put(r)
	last := int64(-1)
	for i := range c.entries {
		if err := ctx.Err(); err != nil {
			return &fault.Error{Kind: fault.Unavailable, Err: err}
		}
		e := &c.entries[i]
		day := dayOf(e)
		if err := s.add(ctx, c, r, e); err != nil {
			c.failed = e.InsertID
			return err
		}
		if day != last {
			last = day
			c.days[e.Time.UTC().Format(dayFormat)] = true
		}
	}
	return nil
}

// add adds the row of an entry to those of a chunk.
func (s *Store) add(ctx context.Context, c *chunk, r *row, e *logstore.Entry) error {
	if e.Time.Before(minTime) || !e.Time.Before(maxTime) {
		return &fault.Error{Kind: fault.Invalid, Reason: "TIME_OUT_OF_RANGE", Field: "timestamp", Err: fmt.Errorf("%s is not from %s to %s", e.Time, minTime, maxTime)}
	}
	if b := (bucket{e.Project, e.Bucket}); b != c.last || c.tenant == (logstorage.TenantID{}) {
		t, err := s.tenants.of(ctx, b)
		if err != nil {
			return err
		}
		c.last, c.tenant = b, t
	}
	if err := r.set(e, s.indexOf(c, e)); err != nil {
		return &fault.Error{Kind: fault.TooLarge, Err: err}
	}
	had := c.rows.RowsCount()
	tags := s.streams.choose(r, streamKey{tenant: c.tenant.AccountID, day: dayOf(e)}, c.fresh)
	c.rows.MustAdd(c.tenant, e.Time.UnixNano(), r.fields, tags)
	if c.rows.RowsCount() != had+1 {
		return &fault.Error{Kind: fault.Invalid, Err: errors.New("the storage does not take the entry")}
	}
	return nil
}
