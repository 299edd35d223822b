package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The reasons for which a sample is refused.
const (
	// NotFinite is a NaN or an infinity. The engine could keep infinities;
	// they are refused because no mean, sum or rate over one says anything.
	NotFinite = "NOT_FINITE"
	// TooOld is a time before the retention, TooFarInFuture one that is
	// later than the clock by more than Options.Future.
	TooOld         = "TOO_OLD"
	TooFarInFuture = "TOO_FAR_IN_FUTURE"
	// InvalidSeries is an identity that cannot be kept: without project or
	// metric, with labels that are not sorted or repeat a name, or over
	// 16 KiB.
	InvalidSeries = "INVALID_SERIES"
	// ReadOnly is a store whose disk is nearly full. It ends by itself when
	// there is space again.
	ReadOnly = "STORAGE_READ_ONLY"
)

const (
	// appendSlack is by how much the time bounds of Append are wider than
	// those of Check, so that a sample that passed cannot become too old on
	// its way to Append and sink its batch.
	appendSlack = time.Hour
	// firstMillis is the first instant that the engine can keep: the second
	// day of Unix time.
	firstMillis = tsdb.Millis(24 * time.Hour / time.Millisecond)
	// batchRows is how many rows go to the engine at once: enough to make
	// its cost per call disappear, and few enough that the names of the
	// batch stay in the processor's cache.
	batchRows = 2048
	// maxBuffered is after how many rows the engine's buffers are emptied. It would
	// do so itself when fifteen of 8 MB are full, and take more meanwhile: at the
	// peak they were 152 MB. These are six. With fewer, more parts have to be
	// merged: lines take about a seventh more processor time (docs/benchmarks.md).
	maxBuffered = 1 << 20
	// exactBits tells the engine to keep values as exactly as it can.
	exactBits = 64
)

// batch is the reused buffers of an Append.
type batch struct {
	rows  []storage.MetricRow
	names []byte
	// month is when the month begins that all rows are of.
	month tsdb.Millis
}

// Check returns the reason for which Append would refuse the sample, or "".
// A caller that wants a verdict for each sample asks here first, since Append
// takes all of a batch or nothing.
func (s *Store) Check(sample tsdb.Sample) string {
	if !nameable(sample.Series) {
		return InvalidSeries
	}
	return cmp.Or(s.options.check(sample), partsVerdict(&sample, maxLayout))
}

// check is Check for a sample of a series that can be kept.
func (o *Options) check(sample tsdb.Sample) string {
	now := time.Now()
	kept := o.kept(now, 0)
	if reason := verdict(sample, kept); reason != "" {
		return reason
	}
	start, reason := o.admit(now, sample.Series, kept.Start)
	if reason == "" && sample.Time < start {
		return TooOld
	}
	return reason
}

// kept are the times that are kept at the instant now, widened by slack.
func (o *Options) kept(now time.Time, slack time.Duration) tsdb.Interval {
	return tsdb.Interval{
		Start: max(firstMillis, tsdb.Millis(now.Add(-o.Retention-slack).UnixMilli())),
		End:   tsdb.Millis(now.Add(o.Future + slack).UnixMilli()),
	}
}

// verdict is why the time or the value of a sample is refused, or "".
func verdict(sample tsdb.Sample, kept tsdb.Interval) string {
	switch {
	case sample.Value-sample.Value != 0: // NaN, or an infinity less itself
		return NotFinite
	case sample.Time < kept.Start:
		return TooOld
	case sample.Time > kept.End:
		return TooFarInFuture
	}
	return ""
}

// Append implements tsdb.Store. A batch with a sample that Check refuses is
// refused as a whole, with the reason (times get an hour of grace); when the
// disk is nearly full every batch is, as Exhausted with reason ReadOnly.
func (s *Store) Append(ctx context.Context, samples []tsdb.Sample) error {
	const op = "tsdb/vm.Append"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	if s.engine.IsReadOnly() {
		return &fault.Error{Op: op, Kind: fault.Exhausted, Reason: ReadOnly, Err: errors.New("the disk is nearly full")}
	}
	var m months
	if m.whole(samples) == len(samples) {
		g, ok := s.groupers.Get().(*grouper)
		if !ok {
			g = new(grouper)
		}
		defer s.groupers.Put(g)
		samples = g.group(samples)
	}
	parts, err := s.options.checkAll(op, samples, nameable, maxLayout)
	if err != nil {
		return err
	}
	add := s.add
	if parts {
		add = s.addParts
	}
	var b *batch
	select {
	case b = <-s.batches:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	defer func() { s.batches <- b }()
	for len(samples) > 0 {
		n := m.whole(samples[:min(len(samples), batchRows)])
		b.month = m.from
		add(b, samples[:n])
		samples = samples[n:]
	}
	return nil
}

// checkAll finds a sample that is to be refused, and says whether some
// are distributions; nameable says which identities can be kept, layout bounds
// the layouts of distributions.
func (o *Options) checkAll(op string, samples []tsdb.Sample, nameable func(*tsdb.Series) bool, layout int) (parts bool, err error) {
	now := time.Now()
	kept := o.kept(now, appendSlack)
	start := kept.Start
	var last, admitted *tsdb.Series
	for i := range samples {
		series, reason := samples[i].Series, verdict(samples[i], kept)
		if series != last && !nameable(series) {
			reason = InvalidSeries
		}
		if reason == "" && series != admitted {
			admitted = series
			parts = parts || series.ValueType == tsdb.Distributed
			start, reason = o.admit(now.Add(-appendSlack), series, kept.Start)
		}
		if reason == "" && samples[i].Time < start {
			reason = TooOld
		}
		if reason != "" {
			return false, &fault.Error{
				Op: op, Name: series.Metric, Kind: fault.Invalid, Reason: reason,
				Err: fmt.Errorf("a sample of %d, time %d, value %g", len(samples), samples[i].Time, samples[i].Value),
			}
		}
		last = series
	}
	if parts {
		err = checkParts(op, samples, layout)
	}
	return parts, err
}

// add gives samples, at most batchRows, to the engine.
func (s *Store) add(b *batch, samples []tsdb.Sample) {
	b.rows, b.names = b.rows[:0], b.names[:0]
	var last *tsdb.Series
	var name []byte
	for i := range samples {
		if series := samples[i].Series; series != last {
			// When names grows, the earlier names stay where they were.
			start := len(b.names)
			b.names = appendName(b.names, series)
			name, last = b.names[start:], series
		}
		b.rows = append(b.rows, storage.MetricRow{
			MetricNameRaw: name,
			Timestamp:     int64(samples[i].Time),
			Value:         samples[i].Value,
		})
	}
	s.addRows(b)
}

// addRows gives the rows of a batch to the engine, and has it empty its buffers
// when they hold many.
func (s *Store) addRows(b *batch) {
	s.giveRows(b)
	if s.buffered.Add(int64(len(b.rows))) < maxBuffered {
		return
	}
	s.buffered.Store(0)
	s.engine.DebugFlush()
}

// giveRows gives the rows of a batch to the engine, with others if they are few,
// and counts them as one batch.
func (s *Store) giveRows(b *batch) {
	s.adding.RLock()
	defer s.adding.RUnlock()
	if len(b.rows) < smallRows {
		s.gather(b.rows, b.month)
	} else {
		s.engine.AddRows(b.rows, exactBits)
	}
	s.added.Add(1)
}
