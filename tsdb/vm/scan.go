package vm

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"selvedge.dev/tsdb"
)

var _ tsdb.Scanner = (*Store)(nil)

// waveBlocks is how many blocks, of up to 8192 points, each worker reads
// between two visits, about: enough that the workers seldom wait for the last
// of them (some 0.1 ms a block), and few enough that a scan that is ended reads
// little in vain.
const waveBlocks = 64

// Scan implements tsdb.Scanner: as many series are read at once as there are
// processors. What Select says about waiting and cancellation holds here too.
func (s *Store) Scan(ctx context.Context, sel tsdb.Selection, work func(*tsdb.Series, tsdb.Points) (any, error), visit func(*tsdb.Series, any) (bool, error)) error {
	const op = "tsdb/vm.Scan"
	q := &query{store: s, sel: sel}
	sc := &scan{query: q, work: work, visit: visit}
	q.readAll = sc.run
	return s.answer(ctx, op, q)
}

// scan is a Scan under way.
type scan struct {
	*query

	work  func(*tsdb.Series, tsdb.Points) (any, error)
	visit func(*tsdb.Series, any) (bool, error)
	// windows and aligned are those of ScanWindows, nil for Scan.
	windows *tsdb.Windows
	aligned func(s *tsdb.Series, points tsdb.Points, read int) (any, error)
}

// task is a series to be read, and what became of it.
type task struct {
	series *tsdb.Series
	key    string
	blocks []blockOf
	points int
	// known says that there are points that were not read.
	known bool
	made  any
	// err ended the scan; callers says that it is the error of the caller's
	// function.
	err     error
	callers bool
}

// run reads the series in the order of their keys, in waves: the workers take
// the series of a wave one by one, and when all are done they are visited.
func (s *scan) run(ctx context.Context) error {
	tasks := s.tasks()
	// No more than there are processors: what is read is in memory mostly, so
	// that more would only take turns.
	workers := min(runtime.GOMAXPROCS(0), runtime.NumCPU(), max(1, len(tasks)))
	buffers := make([]*columns, workers)
	for i := range buffers {
		buffers[i] = s.store.columns(len(s.blocks))
		defer s.store.reuse(buffers[i])
	}
	for len(tasks) > 0 {
		n, blocks := 0, 0
		for n < len(tasks) && blocks < workers*waveBlocks {
			blocks += len(tasks[n].blocks)
			n++
		}
		s.readWave(ctx, tasks[:n], buffers)
		for i := range tasks[:n] {
			if more, err := s.finish(&tasks[i]); err != nil || !more {
				return err
			}
		}
		clear(tasks[:n])
		tasks = tasks[n:]
	}
	return nil
}

// tasks are the series that were found, by key.
func (s *scan) tasks() []task {
	tasks := make([]task, 0, len(s.series))
	for blocks := s.blocks; len(blocks) > 0; {
		n := 1
		for n < len(blocks) && blocks[n].series == blocks[0].series {
			n++
		}
		series := s.series[blocks[0].series]
		tasks = append(tasks, task{series: series, key: series.Key(), blocks: blocks[:n]})
		blocks = blocks[n:]
	}
	slices.SortFunc(tasks, func(a, b task) int { return strings.Compare(a.key, b.key) })
	return tasks
}

// readWave has every worker, one for each buffer, take tasks until there are no
// more. This goroutine is one of them.
func (s *scan) readWave(ctx context.Context, wave []task, buffers []*columns) {
	room := s.sel.MaxPoints - s.points
	var next atomic.Int64
	take := func(c *columns) {
		for i := next.Add(1) - 1; i < int64(len(wave)); i = next.Add(1) - 1 {
			s.do(ctx, c, &wave[i], room)
			if wave[i].err != nil {
				// The tasks before it, which are under way or done, are
				// visited; none after it is.
				next.Store(int64(len(wave)))
			}
		}
	}
	var wg sync.WaitGroup
	for _, c := range buffers[1:min(len(buffers), len(wave))] {
		wg.Go(func() { take(c) })
	}
	take(buffers[0])
	wg.Wait()
}

// do reads a series and works on it.
func (s *scan) do(ctx context.Context, c *columns, t *task, room int) {
	if t.blocks[0].part != 0 {
		s.doParts(ctx, c, t, room)
		return
	}
	if s.windows != nil && len(t.blocks) >= memoBlocks {
		s.doWindows(ctx, c, t, room)
		return
	}
	if t.err = s.gather(ctx, c, t.blocks, room); t.err != nil || c.len() == 0 {
		return
	}
	t.points = c.len()
	t.made, t.err = s.work(t.series, c.view())
	t.callers = t.err != nil
}

// finish counts a series against the bounds and has it visited.
func (s *scan) finish(t *task) (bool, error) {
	if t.err != nil {
		if t.callers {
			s.visitErr = t.err
		}
		return false, t.err
	}
	if t.points == 0 && !t.known {
		return true, nil
	}
	s.points += t.points
	s.visited++
	if err := bound("points", s.points, s.sel.MaxPoints); err != nil {
		return false, err
	}
	if err := bound("series", s.visited, s.sel.MaxSeries); err != nil {
		return false, err
	}
	more, err := s.visit(t.series, t.made)
	s.visitErr = err
	return more, err
}
