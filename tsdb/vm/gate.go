package vm

import (
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// instantBefore is the instant so long before now.
func instantBefore(now time.Time, d time.Duration) tsdb.Millis {
	return tsdb.Millis(now.Add(-d).UnixMilli())
}

// earliest is the time of the oldest point that a metric of a project may tell
// of, or any of its metrics when it is "", by the gate.
func (o *Options) earliest(now time.Time, project, metric string) tsdb.Millis {
	if o.Gate == nil {
		return firstMillis
	}
	if kept := o.Gate.Retention(project, metric); kept > 0 {
		return instantBefore(now, kept)
	}
	return firstMillis
}

// withinOf are the times of tr that are kept for the series.
func (o *Options) withinOf(s *tsdb.Series, tr storage.TimeRange) storage.TimeRange {
	if o.Gate != nil {
		tr.MinTimestamp = max(tr.MinTimestamp, int64(o.earliest(time.Now(), s.Project, s.Metric)))
	}
	return tr
}

// admit is why the gate does not admit the series, and from when on points of
// it are kept if it does, when that is later than start.
func (o *Options) admit(now time.Time, s *tsdb.Series, start tsdb.Millis) (tsdb.Millis, string) {
	if o.Gate == nil {
		return start, ""
	}
	kept, refused := o.Gate.Admit(s)
	if kept > 0 {
		start = max(start, instantBefore(now, kept))
	}
	return start, refused
}

// months tells where a batch has to be cut.
//
// The engine keeps a series under a number, which it looks up for the first of
// neighbouring rows of one series and then takes for the others, whatever month
// they are of. After a deletion that number may be a deleted one in an older
// month: rows of it would never be seen. So what is given to the engine at once
// is of one month.
type months struct{ from, to tsdb.Millis }

// whole is how many of the samples, at least one, can be given to the engine
// at once.
func (m *months) whole(samples []tsdb.Sample) int {
	for i := range samples {
		at := samples[i].Time
		if at >= m.from && at < m.to {
			continue
		}
		if i > 0 {
			return i
		}
		t := time.UnixMilli(int64(at)).UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		m.from, m.to = tsdb.Millis(first.UnixMilli()), tsdb.Millis(first.AddDate(0, 1, 0).UnixMilli())
	}
	return len(samples)
}

// What is found before anything is read takes memory too: half a kilobyte for a
// series and a tenth for a block.
const (
	// maxBlocks bounds the blocks of a query: half a gigabyte. A block has up to
	// 8192 points, and those of a series that is written to all the time nearly
	// so many.
	maxBlocks = 4 << 20
	// foundShare is how many times as many series may be found as may have
	// points: a block that reaches over the interval may have none in it.
	foundShare = 2
)

// foundTooMuch is the error of a query that found more than it may.
func (q *query) foundTooMuch() error {
	if len(q.blocks) > maxBlocks {
		return exhausted("blocks of points", maxBlocks)
	}
	if len(q.series) > foundShare*q.sel.MaxSeries {
		return exhausted("series", q.sel.MaxSeries)
	}
	return nil
}
