package promql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The beginnings of notes: a warning is of what is likely wrong, an info of what
// may be.
const (
	warning = "PromQL warning: "
	info    = "PromQL info: "
)

// notes are what is strange about a query, in the words of Prometheus.
type notes struct {
	text string
	all  map[string]bool
}

// maxNotes is how many notes of a sort an answer has, as in Prometheus, and
// maxKept how many are kept at most.
const (
	maxNotes = 10
	maxKept  = 1000
)

// note says something about the part of the query at an offset.
func (n *notes) note(sort string, at int, format string, args ...any) {
	if len(n.all) >= maxKept {
		return
	}
	if n.all == nil {
		n.all = map[string]bool{}
	}
	n.all[fmt.Sprintf("%s%s (%s)", sort, fmt.Sprintf(format, args...), position(n.text, at))] = true
}

// quantile warns of a quantile that there is none of.
func (n *notes) quantile(q float64, at int) {
	if !(q >= 0 && q <= 1) {
		n.note(warning, at, "quantile value should be between 0 and 1, got %g", q)
	}
}

// list are the notes of a sort; of many the first.
func (n *notes) list(sort, word string) []string {
	var found []string
	for _, s := range slices.Sorted(maps.Keys(n.all)) {
		if strings.HasPrefix(s, sort) {
			found = append(found, s)
		}
	}
	if more := len(found) - maxNotes; more > 0 {
		return append(found[:maxNotes], fmt.Sprintf("%d more %s annotations omitted", more, word))
	}
	return found
}

// position is the line and column of an offset.
func position(text string, at int) string {
	before := text[:at]
	return fmt.Sprintf("%d:%d", strings.Count(before, "\n")+1, at-strings.LastIndexByte(before, '\n'))
}

// fixes are the buckets whose counts were below those of buckets within them, of
// all histograms and steps of a call.
type fixes struct {
	samples         int
	least, greatest float64
	difference      float64
	from, to        int64
}

// add counts the fixes of one histogram at one step.
func (f *fixes) add(of fixes, now int64) {
	if of.samples == 0 {
		return
	}
	if f.samples == 0 {
		*f = of
		f.samples, f.from, f.to = 1, now, now
		return
	}
	f.samples++
	f.least, f.greatest, f.difference = min(f.least, of.least), max(f.greatest, of.greatest), max(f.difference, of.difference)
	f.from, f.to = min(f.from, now), max(f.to, now)
}

// bucket counts the fix of one bucket.
func (f *fixes) bucket(upper, difference float64) {
	if f.samples == 0 {
		f.samples, f.least, f.greatest = 1, upper, upper
	}
	f.least, f.greatest, f.difference = min(f.least, upper), max(f.greatest, upper), max(f.difference, difference)
}

// note says that there were fixes, if there were.
func (f *fixes) note(n *notes, at int) {
	if f.samples == 0 {
		return
	}
	when := func(ms int64) string { return time.Unix(ms/1000, 0).UTC().Format(time.RFC3339) }
	n.note(info, at, "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), "+
		"from buckets %g to %g, with a max diff of %.2g, over %d samples from %s to %s", f.least, f.greatest, f.difference, f.samples, when(f.from), when(f.to))
}

// counter reports whether a metric is one: by its name, as Prometheus tells it,
// or since it is cumulative.
func (d *directory) counter(name string) bool {
	for _, ending := range []string{"_total", sumEnding, countEnding, bucketEnding} {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return d.cumulative[name]
}
