package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// question asks for aligned series.
type question struct {
	name     string
	set      dataset
	metrics  int
	hosts    int // 0 is all, one by one
	aligner  string
	function string // of MetricsQL, with %s for the selector in brackets
	reduce   bool   // to the greatest over hosts
	period   time.Duration
	span     time.Duration
	times    int
	end      time.Time
	cached   bool // may be answered from what was computed before
	// whole is whether the windows are whole ones of the calendar in UTC, as those
	// of rollups are.
	whole bool
}

// questions are what is asked.
func questions(cpu, month dataset) []question {
	span := min(24*time.Hour, (time.Duration(cpu.samples) * cpu.step).Truncate(time.Hour))
	days := (time.Duration(month.samples) * month.step).Truncate(24 * time.Hour)
	minute := question{set: cpu, metrics: 1, aligner: "ALIGN_MEAN", function: "avg_over_time(%s)", period: time.Minute, span: span}
	with := func(q question, name string, change func(*question)) question {
		q.name = name
		change(&q)
		return q
	}
	return []question{
		with(minute, "1 series, 1 h, mean", func(q *question) { q.hosts, q.span, q.times = 1, time.Hour, 400 }),
		with(minute, "1 metric, 8 h, max over 8 hosts", func(q *question) {
			q.hosts, q.span, q.times, q.reduce = 8, min(span, 8*time.Hour), 200, true
			q.aligner, q.function = "ALIGN_MAX", "max_over_time(%s)"
		}),
		with(minute, fmt.Sprintf("1 metric, all hosts, %.0f h, mean", span.Hours()), func(q *question) { q.times = 9 }),
		with(minute, fmt.Sprintf("5 metrics, all hosts, %.0f h, mean", span.Hours()), func(q *question) { q.metrics, q.times = 5, 3 }),
		with(minute, fmt.Sprintf("10 metrics, all hosts, %.0f h, mean", span.Hours()), func(q *question) { q.metrics, q.times = 10, 1 }),
		with(minute, fmt.Sprintf("%.0f days, percentile 95 an hour", days.Hours()/24), func(q *question) {
			q.set, q.span, q.period, q.times = month, days, time.Hour, 9
			q.aligner, q.function = "ALIGN_PERCENTILE_95", "quantile_over_time(0.95, %s)"
		}),
		daily(month),
	}
}

// shifts is how many days daily questions are moved by, at most.
const shifts = 3

// daily asks for the mean of each day of a month but for its last days.
func daily(month dataset) question {
	days := int(time.Duration(month.samples)*month.step/(24*time.Hour)) - shifts - 1
	return question{
		name: fmt.Sprintf("%d days, mean a day", days), set: month, metrics: 1,
		aligner: "ALIGN_MEAN", function: "avg_over_time(%s)", period: 24 * time.Hour, span: time.Duration(days) * 24 * time.Hour, times: 9,
	}
}

// ask asks everything in rounds, by turns, after a comparison of the answers.
func (b *bench) ask(ctx context.Context, all []question) error {
	var usable []question
	for _, q := range all {
		q.end = q.set.end()
		if q.whole {
			q.end = q.end.Truncate(24 * time.Hour)
		}
		if err := b.compare(ctx, q); err != nil {
			fmt.Printf("left out: %s: %v\n", q.name, err)
			continue
		}
		usable = append(usable, q)
	}
	for _, q := range usable {
		for round := range b.rounds {
			for i := range b.targets {
				t := b.targets[(i+round)%len(b.targets)]
				for _, cached := range []bool{false, true} {
					q.cached = cached
					if err := b.time(ctx, t, q, round); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// tolerance is how much the sums of the answers may differ by, relatively: the
// servers' means and quantiles are rounded in another order.
const tolerance = 1e-6

// compare asks both the same and compares.
func (b *bench) compare(ctx context.Context, q question) error {
	var points []int
	var sums []float64
	for _, t := range b.targets {
		var answer bytes.Buffer
		if err := t.ask(ctx, t, q, func(page []byte) { answer.Write(page) }); err != nil {
			return err
		}
		n, sum, err := t.sum(answer.Bytes())
		if err != nil {
			return err
		}
		points, sums = append(points, n), append(sums, sum)
		fmt.Printf("%s, %s: %d points that sum up to %g, %d bytes\n", q.name, t.name, n, sum, answer.Len())
	}
	if points[0] == 0 || points[0] != points[1] || math.Abs(sums[0]-sums[1]) > tolerance*math.Abs(sums[1]) {
		return fmt.Errorf("the answers differ: %d points that sum up to %g, and %d to %g", points[0], sums[0], points[1], sums[1])
	}
	return nil
}

// time asks a question several times and notes the median. A first question
// ends at another instant each time, so that no window was asked for before;
// one asked again ends a period later each time.
func (b *bench) time(ctx context.Context, t *target, q question, round int) error {
	var all []float64
	end, n := q.end, q.times
	if q.cached {
		n++ // the first one fills the caches
	}
	busy, err := t.process.Processor()
	if err != nil {
		return err
	}
	for i := range n {
		q.end = end.Add(-time.Duration(1+i+n*round) * 1009 * time.Millisecond)
		switch {
		case q.whole:
			q.end = end.AddDate(0, 0, -i%shifts)
		case q.cached:
			q.end = end.Add(-time.Duration(n-i) * q.period)
		}
		begin := time.Now()
		if err := t.ask(ctx, t, q, func([]byte) {}); err != nil {
			return err
		}
		if !q.cached || i > 0 {
			all = append(all, float64(time.Since(begin).Microseconds())/1000)
		}
	}
	after, err := t.process.Processor()
	if err != nil {
		return err
	}
	slices.Sort(all)
	kind := ", first"
	if q.cached {
		kind = ", again"
	}
	b.note(q.name+kind, ms, t, all[len(all)/2])
	if !q.cached {
		fmt.Printf("%s, %s: %.1f ms, %.1f ms of the server's processors\n", q.name, t.name, all[len(all)/2], float64((after-busy).Microseconds())/1000/float64(n))
	}
	return nil
}
