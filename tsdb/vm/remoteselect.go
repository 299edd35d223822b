package vm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// maxFrame bounds a series' name and a block in an export, as the server's own
// reader does.
const maxFrame = 1 << 20

// freshLabel is a label that no series has; see matcher.
const freshLabel = "selvedge_fresh"

// Select implements tsdb.Store. The points of all series are held in memory
// before the first is visited, since the server sends them in no order; so
// MaxPoints bounds the memory too, at 16 bytes a point.
func (r *Remote) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	const op = "tsdb/vm.Remote.Select"
	if err := r.use(op); err != nil {
		return err
	}
	defer r.users.Done()
	if sel.Project == "" {
		return &fault.Error{Op: op, Kind: fault.Invalid, Field: "project", Err: errors.New("a selection needs a project")}
	}
	if err := r.show(ctx); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	fill(&sel.MaxSeries, r.options.MaxSeries)
	fill(&sel.MaxPoints, r.options.MaxPoints)
	e := &export{remote: r, sel: sel, byName: map[string]*exported{}}
	some := false
	if e.within, some = r.options.within(sel); !some {
		return nil
	}
	if err := e.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	for _, x := range e.all {
		points, more, ok := x.view(sel.MaxPoints - e.points)
		if e.points += more; !ok {
			return fmt.Errorf("%s: %w", op, exhausted("points", sel.MaxPoints))
		}
		if points.Len() == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if err := visit(x.series, points); err != nil {
			return err
		}
	}
	return nil
}

// export is one native export under way.
type export struct {
	remote *Remote
	sel    tsdb.Selection
	within storage.TimeRange

	// byName are the series by name, nil when not kept, and all those kept.
	byName map[string]*exported
	all    []*exported
	// byKey are the series of distributions.
	byKey map[string]*exported
	// visited and points count the series with points, and the points.
	visited, points int
}

// exported is a series of an export.
type exported struct {
	series *tsdb.Series
	points columns
	// parts are those of a series of distributions, and read how many numbers
	// they have.
	parts []*exported
	read  int
	// part and of are set in a part: what it is, and of which series.
	part string
	of   *exported
}

// matcher selects the series. The server caches which series a matcher finds,
// and forgets that up to ten seconds after a new series is visible; so a number
// that changes with what was appended makes it another matcher.
func (e *export) matcher() string {
	m := "{" + projectLabel + "=" + strconv.Quote(escapeOf(e.sel.Project)+e.sel.Project)
	if e.sel.Metric != "" {
		m += ",__name__=" + strconv.Quote(e.sel.Metric)
	}
	return m + "," + freshLabel + "!=" + strconv.Quote(strconv.FormatUint(e.remote.visible.mark.Load(), 10)) + "}"
}

// run reads the answer, which is
//
//	+-----------+---------+-----------+------+-----------+-------+
//	| from, to  | n       | name      | n    | block     | …     |
//	| 2×8 bytes | 4 bytes | n bytes   | 4    | n bytes   |       |
//	+-----------+---------+-----------+------+-----------+-------+
//
// all numbers being big endian, and the names and blocks in the engine's own
// form.
func (e *export) run(ctx context.Context) error {
	const path = "/api/v1/export/native"
	seconds := func(ms int64) string { return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64) }
	body, err := e.remote.do(ctx, e.remote.get(path, url.Values{
		"match[]": {e.matcher()},
		// A second more on both sides, however the server rounds.
		"start": {seconds(e.within.MinTimestamp - 1000)}, "end": {seconds(e.within.MaxTimestamp + 1000)},
	}))
	if err != nil {
		return err
	}
	err = e.read(ctx, bufio.NewReaderSize(body, 256<<10))
	closed := body.Close()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		err = closed
	}
	if err == nil || fault.KindOf(err) == fault.Exhausted {
		return err
	}
	return unavailable(path, err)
}

// read reads all blocks.
func (e *export) read(ctx context.Context, in *bufio.Reader) error {
	if _, err := io.CopyN(io.Discard, in, 16); err != nil {
		return fmt.Errorf("read time range: %w", unexpected(err))
	}
	var name, data []byte
	var mn storage.MetricName
	var block storage.Block
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if name, err = frame(in, name); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read name: %w", err)
		}
		if data, err = frame(in, data); err != nil {
			return fmt.Errorf("read block: %w", unexpected(err))
		}
		x, known := e.byName[string(name)]
		if !known {
			if x, err = e.identify(&mn, name); err != nil {
				return err
			}
		}
		if x == nil {
			continue
		}
		tail, err := block.UnmarshalPortable(data)
		if err == nil && len(tail) > 0 {
			err = fmt.Errorf("%d bytes too many", len(tail))
		}
		if err != nil {
			return fmt.Errorf("decode block: %w", err)
		}
		if err := e.take(x, &block); err != nil {
			return err
		}
	}
}

// unexpected is err, an end being one that was not expected.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frame reads what is behind its length in four bytes. The error is io.EOF when
// there is nothing more.
func frame(in *bufio.Reader, b []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return b, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return b, fmt.Errorf("a frame of %d bytes", n)
	}
	if cap(b) < int(n) {
		b = make([]byte, n)
	}
	_, err := io.ReadFull(in, b[:n])
	return b[:n], unexpected(err)
}

// identify finds out whether a series that was not seen before is kept.
func (e *export) identify(mn *storage.MetricName, name []byte) (*exported, error) {
	series, err := e.remote.options.identify(&e.sel, mn, name)
	if err != nil {
		return nil, err
	}
	var x *exported
	switch {
	case series == nil:
	case series.ValueType == tsdb.Distributed:
		x = e.part(series, partOf(mn))
	default:
		x = &exported{series: series}
		e.all = append(e.all, x)
	}
	e.byName[string(name)] = x
	return x, nil
}

// take adds a block to a series, and counts.
func (e *export) take(x *exported, block *storage.Block) error {
	before := x.points.len()
	x.points.take(block, e.remote.options.withinOf(x.series, e.within))
	after := x.points.len()
	e.points += after - before
	if of := x.of; of != nil {
		before, of.read = of.read, of.read+after-before
		after = of.read
	}
	if before == 0 && after > 0 {
		e.visited++
	}
	if err := bound("points", e.points, e.sel.MaxPoints); err != nil {
		return err
	}
	return bound("series", e.visited, e.sel.MaxSeries)
}

// part is a part of distributions, new to the export.
func (e *export) part(series *tsdb.Series, text string) *exported {
	key := series.Key()
	of := e.byKey[key]
	if of == nil {
		of = &exported{series: series}
		if e.byKey == nil {
			e.byKey = map[string]*exported{}
		}
		e.byKey[key] = of
		e.all = append(e.all, of)
	}
	x := &exported{series: of.series, part: text, of: of}
	of.parts = append(of.parts, x)
	return x
}

// view are the points of a series, and as how many more than were read they
// count. It is false when that is more than room.
func (x *exported) view(room int) (tsdb.Points, int, bool) {
	if x.parts == nil {
		return x.points.view(), 0, true
	}
	columns := make([]*partColumn, len(x.parts))
	for i, p := range x.parts {
		columns[i] = &partColumn{part: p.part, times: p.points.times, values: p.points.values}
	}
	points, size, ok := assemble(columns, x.read+room)
	return points, size - x.read, ok
}
