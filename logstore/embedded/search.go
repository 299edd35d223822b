package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// span are the times of a search in nanoseconds, both ends in.
type span struct{ from, to int64 }

// everSpan are all times that there are.
var everSpan = span{minTime.UnixNano(), maxTime.UnixNano()}

// spanOf is the span of a selection.
func spanOf(sel logstore.Selection) span {
	s := everSpan
	if sel.From.After(minTime) {
		s.from = clampNano(sel.From)
	}
	if !sel.To.IsZero() {
		s.to = clampNano(sel.To) - 1
	}
	return s
}

// clampNano is a time in nanoseconds, within those that there are.
func clampNano(t time.Time) int64 {
	switch {
	case t.Before(minTime):
		return everSpan.from
	case t.After(maxTime):
		return everSpan.to
	}
	return t.UnixNano()
}

// errEnough ends a search whose caller has what it needs.
var errEnough = errors.New("enough")

// search runs a query of the engine and hands on its blocks, of which several
// may come at once, each with the number of a worker. The first error ends it.
func (s *Store) search(ctx context.Context, tenants []logstorage.TenantID, query string, at span, block func(worker uint, b *logstorage.DataBlock) error) error {
	if len(tenants) == 0 || at.from > at.to {
		return nil
	}
	q, err := logstorage.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("the storage does not understand %s: %w", query, err)
	}
	q.AddTimeFilter(at.from, at.to)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stats logstorage.QueryStats
	err = s.engine.RunQuery(logstorage.NewQueryContext(ctx, &stats, tenants, q, false, nil), func(worker uint, b *logstorage.DataBlock) {
		if ctx.Err() == nil {
			if err := block(worker, b); err != nil {
				cancel(err)
			}
		}
	})
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errEnough):
		return nil
	case cause != nil:
		return cause
	case err != nil:
		return &fault.Error{Kind: fault.Exhausted, Reason: "QUERY_TOO_LARGE", Err: fmt.Errorf("%w: a shorter time, fewer groups or a filter that selects less would help", err)}
	}
	return nil
}

// errSlow is the error of a query that took too long.
var errSlow = errors.New("the query took too long: a shorter time, or a filter on the log, a label or whole words, would help")

// begin makes ready for a query: what was appended is found by it, and it ends
// in time. done is called when it is over.
func (s *Store) begin(ctx context.Context, op string) (_ context.Context, done func(), err error) {
	if err := s.use(op); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.MaxQuery, errSlow)
	select {
	case s.queries <- struct{}{}:
	case <-ctx.Done():
		defer s.users.Done()
		defer cancel()
		return nil, nil, failed(op, context.Cause(ctx))
	}
	s.show()
	return ctx, func() { <-s.queries; cancel(); s.users.Done() }, nil
}

// failed makes a fault of an error of a query.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errSlow) {
		return &fault.Error{Op: op, Kind: fault.Exhausted, Reason: "QUERY_TOO_SLOW", Err: errSlow}
	}
	return &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
}

// readers are the buffers of the workers of a query.
type readers struct {
	mu    sync.Mutex
	cells map[uint]*cells
	// read counts the entries that were looked at, of at most limit.
	read, limit int
}

// open makes the cells of a block. Only its worker uses them.
func (r *readers) open(worker uint, b *logstorage.DataBlock) (*cells, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read += b.RowsCount(); r.read > r.limit {
		return nil, &fault.Error{Kind: fault.Exhausted, Reason: "QUERY_TOO_LARGE", Err: fmt.Errorf("more than %d entries would have to be looked at: a shorter time, or a filter on the log, a label or whole words, would help", r.limit)}
	}
	c := r.cells[worker]
	if c == nil {
		c = new(cells)
		r.cells[worker] = c
	}
	if !c.open(b) {
		return nil, errors.New("the storage gave rows without their time")
	}
	return c, nil
}

// newReaders makes the buffers of a query.
func (s *Store) newReaders() *readers {
	return &readers{cells: make(map[uint]*cells), limit: s.options.MaxRead}
}

// needless are the columns that no entry is made of.
const needless = "_stream, _stream_id, " + columnForm + ", " + columnPromoted + ", " + columnFold + ", " + columnSize

// matching hands on the entries that a selection selects of those that a query
// of the engine finds, of any if there is a limit. Several may come at once.
func (s *Store) matching(ctx context.Context, r *readers, q matchingQuery, each func(e *logstore.Entry) error) error {
	query := q.query + " | delete " + needless
	if q.limit > 0 {
		query += " | limit " + strconv.Itoa(q.limit)
	}
	return s.search(ctx, q.tenants, query, q.at, func(worker uint, b *logstorage.DataBlock) error {
		c, err := r.open(worker, b)
		if err != nil {
			return err
		}
		for i := range c.times {
			e, err := c.entry(q.project, i)
			if err != nil {
				return err
			}
			if q.selector.Match(&e) {
				if err := each(&e); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	})
}

// matchingQuery is what Store.matching asks.
type matchingQuery struct {
	project string
	tenants []logstorage.TenantID
	found   found
	// query finds all that is selected, and maybe more.
	query    string
	at       span
	selector *logstore.Selector
	// limit is the most rows to look at; 0 is no limit.
	limit int
}

// prepare makes a query of a selection.
func (s *Store) prepare(sel logstore.Selection) (matchingQuery, error) {
	selector, err := sel.Matcher()
	if err != nil {
		return matchingQuery{}, err
	}
	q := matchingQuery{
		project: sel.Project, tenants: s.tenants.some(sel.Project, sel.Buckets), found: compile(sel.Filter),
		at: spanOf(sel.Narrow()), selector: selector,
	}
	q.query = s.within(q.found, q.found.orOpaque(), "")
	return q, nil
}

// orOpaque is the query for what a filter finds and for the rows that are looked
// into whatever it is.
func (f found) orOpaque() string {
	if f.query == everything {
		return everything
	}
	return "(" + f.query + ") or " + opaqueRows
}

// opaqueRows finds the rows that are looked into whatever is looked for.
var opaqueRows = named(columnOpaque) + everything

// within is a query in the streams that may have what a filter finds, of those
// that have a tag if it is not "".
func (s *Store) within(f found, query, form string) string {
	var terms []string
	for _, list := range f.tags {
		var every, labels []string
		for _, t := range list {
			term := strconv.Quote(t.column) + "=~" + strconv.Quote(t.pattern)
			if strings.HasPrefix(t.column, resourcePrefix) {
				labels = append(labels, term)
			} else {
				every = append(every, term)
			}
		}
		if form != "" {
			every = append(every, form)
		}
		terms = append(terms, strings.Join(append(slices.Clone(every), labels...), ","))
		if len(labels) > 0 {
			terms = append(terms, strings.Join(append(every, unkeyedStreams), ","))
		}
	}
	if len(terms) == 0 && form != "" {
		terms = []string{form}
	}
	filters := ""
	if len(terms) > 0 {
		filters = s.streams.filter(terms...) + " "
	}
	if s.options.Promoted != nil {
		for _, labels := range f.labels {
			filters += s.streams.labelTags(labels) + " "
		}
	}
	if filters == "" {
		return query
	}
	return filters + "(" + query + ")"
}

// The tags of streams by form.
const (
	unkeyedStreams  = columnForm + `!~"[` + formASCII + formText + `]` + formKeyed + `"`
	columnStreams   = columnForm + `=~"[` + formASCII + formText + `]` + formKeyed + `?"`
	noColumnStreams = columnForm + `!~"[` + formASCII + formText + `]` + formKeyed + `?"`
	asciiStreams    = columnForm + `=~"` + formASCII + formKeyed + `?"`
	noASCIIStreams  = columnForm + `!~"` + formASCII + formKeyed + `?"`
)

// Since implements logstore.Writer.
func (s *Store) Since(ctx context.Context, origin string, seq uint64) ([]uint64, error) {
	const op = "logstore/embedded.Since"
	if err := s.use(op); err != nil {
		return nil, err
	}
	defer s.users.Done()
	s.show()
	var (
		mu   sync.Mutex
		seqs []uint64
	)
	// The engine compares with floating-point numbers.
	query := fmt.Sprintf("%s=%q %s>=%d | fields %s", named(columnOrigin), origin, named(columnSeq), min(seq, maxExact-1), columnSeq)
	err := s.search(ctx, s.tenants.all(), query, everSpan, func(_ uint, b *logstorage.DataBlock) error {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range b.GetColumns(false) {
			for _, v := range c.Values {
				if n := sequence(v); n >= seq {
					seqs = append(seqs, n)
				}
			}
		}
		return nil
	})
	slices.Sort(seqs)
	return slices.Compact(seqs), failed(op, err)
}

// Positions implements once.Finder.
func (s *Store) Positions(ctx context.Context, sel logstore.Selection, insertIDs []string) ([]logstore.Position, error) {
	const op = "logstore/embedded.Positions"
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	quoted := make([]string, len(insertIDs))
	for i, id := range insertIDs {
		quoted[i] = strconv.Quote(id)
	}
	var (
		mu    sync.Mutex
		found []logstore.Position
	)
	query := fmt.Sprintf("%sin(%s) | fields %s, %s, %s, %s", named(columnInsertID), strings.Join(quoted, ","), columnTime, columnInsertID, columnLog, columnBucket)
	readers := s.newReaders()
	err = s.search(ctx, s.tenants.some(sel.Project, sel.Buckets), query, spanOf(sel), func(worker uint, b *logstorage.DataBlock) error {
		c, err := readers.open(worker, b)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range c.times {
			found = append(found, logstore.Position{
				Time: utc(c.times[i]), InsertID: strings.Clone(c.at(columnInsertID, i)),
				Log: strings.Clone(c.at(columnLog, i)), Bucket: strings.Clone(c.at(columnBucket, i)),
			})
		}
		return nil
	})
	return found, failed(op, err)
}
