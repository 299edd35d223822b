package vm

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// columns are the points of one series, gathered from its blocks: times
// strictly ascending, and of the values of one time the greatest.
//
// That the same time counts once is decided here and not by the engine's
// deduplication. That one works on intervals, which of the values stays
// depends on where blocks end, and merges apply it at leisure; with it off, as
// here, the engine keeps everything, and every order of arrival reads the same.
type columns struct {
	times  []int64
	values []float64

	// What follows is reused. portable is a block as the engine shows it, unpacked
	// and numbers are its values on the way.
	block              storage.Block
	portable, unpacked []byte
	numbers            []int64
	scratchTimes       []int64
	scratchValues      []float64
	// remembers is where unpacked values are looked up first, nil if nowhere.
	remembers *unpacked
}

// keptPoints bounds the columns that are kept for the next query: 4 MB.
const keptPoints = 1 << 18

// columns are empty columns, used ones if there are any, for a query that reads so
// many blocks.
func (s *Store) columns(blocks int) *columns {
	c, ok := s.unused.Get().(*columns)
	if !ok {
		c = &columns{}
	}
	c.remembers = nil
	if blocks <= unpackedBlocks {
		c.remembers = s.unpacked
	}
	return c
}

// reuse gives columns back that no query needs any more.
func (s *Store) reuse(c *columns) {
	if cap(c.times) <= keptPoints {
		s.unused.Put(c)
	}
}

// reset makes c empty for another series.
func (c *columns) reset() { c.times, c.values = c.times[:0], c.values[:0] }

// grow makes room for n points.
func (c *columns) grow(n int) {
	c.times, c.values = slices.Grow(c.times, n), slices.Grow(c.values, n)
}

// drop removes the first n points.
func (c *columns) drop(n int) {
	c.times = c.times[:copy(c.times, c.times[n:])]
	c.values = c.values[:copy(c.values, c.values[n:])]
}

// len is the number of points.
func (c *columns) len() int { return len(c.times) }

// view are the points without copying; tsdb.Millis is an int64.
func (c *columns) view() tsdb.Points {
	times := unsafe.Slice((*tsdb.Millis)(unsafe.SliceData(c.times)), len(c.times))
	return tsdb.Points{Times: times, Values: c.values}
}

// add reads the points of a block that are within tr. Blocks mostly come in
// the order of time; one that begins before the end of what is there (late or
// repeated points) is merged with as much of it as it overlaps.
func (c *columns) add(ref *storage.BlockRef, tr storage.TimeRange) error {
	ref.MustReadBlock(&c.block)
	c.portable = c.block.MarshalPortable(c.portable[:0])
	if b, ok := readStored(c.portable); ok {
		if done, err := c.addRegular(&b, tr); done || err != nil {
			return err
		}
	}
	if err := c.block.UnmarshalData(); err != nil {
		return fmt.Errorf("decode block: %w", err)
	}
	c.take(&c.block, tr)
	return nil
}

// take adds the points of a decoded block that are within tr.
func (c *columns) take(block *storage.Block, tr storage.TimeRange) {
	n := len(c.times)
	c.times, c.values = block.AppendRowsWithTimeRangeFilter(c.times, c.values, tr)
	c.settle(n)
}

// settle makes one ascending sequence of the points before n, which are one,
// and those from n on, whose times ascend but may repeat.
func (c *columns) settle(n int) {
	if n == len(c.times) {
		return
	}
	from := n
	if n > 0 && c.times[n] <= c.times[n-1] {
		from = c.mergeTail(n)
	}
	c.compact(from)
}

// mergeTail merges the points from n on into those before by time, and returns
// the index of the first that moved.
func (c *columns) mergeTail(n int) int {
	from, _ := slices.BinarySearch(c.times[:n], c.times[n])
	c.scratchTimes = append(c.scratchTimes[:0], c.times[from:n]...)
	c.scratchValues = append(c.scratchValues[:0], c.values[from:n]...)
	// Writing at at never reaches what is still to be read at i: between
	// them there is a place for each point left in the scratch columns.
	at, i := from, n
	for j := 0; j < len(c.scratchTimes); at++ {
		if i < len(c.times) && c.times[i] < c.scratchTimes[j] {
			c.times[at], c.values[at] = c.times[i], c.values[i]
			i++
			continue
		}
		c.times[at], c.values[at] = c.scratchTimes[j], c.scratchValues[j]
		j++
	}
	return from
}

// compact removes repeated times from the ascending points from the index on,
// and leaves the greatest value of each.
func (c *columns) compact(from int) {
	i := max(1, from)
	if i >= len(c.times) {
		return
	}
	before := c.times[i-1]
	for _, t := range c.times[i:] {
		if t == before {
			break
		}
		before = t
		i++
	}
	if i == len(c.times) {
		return
	}
	last := i - 1
	for ; i < len(c.times); i++ {
		if c.times[i] == c.times[last] {
			c.values[last] = max(c.values[last], c.values[i])
			continue
		}
		last++
		c.times[last], c.values[last] = c.times[i], c.values[i]
	}
	c.times, c.values = c.times[:last+1], c.values[:last+1]
}
