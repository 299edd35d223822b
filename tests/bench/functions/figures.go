package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are what was measured: by figure and target, a value for each round. What
// comes is printed at once, so that a run that is ended has shown what it found.
type figures struct {
	out     io.Writer
	begin   time.Time
	targets []*target
	names   []string
	// unit and more are the unit of a figure, and whether more of it is better; at
	// is the quantile of its values that is printed, by default the median.
	unit   map[string]string
	more   map[string]bool
	at     map[string]float64
	values map[string]map[*target][]float64
	// failed is what could not be measured.
	failed []error
}

// newFigures has none yet.
func newFigures(out io.Writer, targets []*target) *figures {
	return &figures{
		out: out, begin: time.Now(), targets: targets,
		unit: map[string]string{}, more: map[string]bool{}, at: map[string]float64{}, values: map[string]map[*target][]float64{},
	}
}

// say prints what goes on.
func (f *figures) say(t *target, format string, args ...any) {
	_, _ = fmt.Fprintf(f.out, "%6.1f s  %-8s  %s\n", time.Since(f.begin).Seconds(), t.name, fmt.Sprintf(format, args...)) // to a person's terminal
}

// fail notes what could not be measured; the rest is.
func (f *figures) fail(t *target, err error) {
	f.say(t, "FAILED: %v", err)
	f.failed = append(f.failed, fmt.Errorf("%s: %w", t.name, err))
}

// err is what could not be measured.
func (f *figures) err() error { return errors.Join(f.failed...) }

// note notes a value.
func (f *figures) note(t *target, name, unit string, v float64) {
	if f.values[name] == nil {
		f.names = append(f.names, name)
		f.unit[name], f.values[name] = unit, map[*target][]float64{}
	}
	f.values[name][t] = append(f.values[name][t], v)
}

// add notes a value of which less is better.
func (f *figures) add(t *target, name, unit string, v float64) {
	f.note(t, name, unit, v)
	f.say(t, "%s: %.4g %s", name, v, unit)
}

// addMore notes a value of which more is better.
func (f *figures) addMore(t *target, name, unit string, v float64) {
	f.add(t, name, unit, v)
	f.more[name] = true
}

// addAll notes values of which less is better, for their median and their 99th
// percentile over all rounds.
func (f *figures) addAll(t *target, name, unit string, values []float64) {
	for _, q := range []struct {
		name string
		at   float64
	}{{name + " p50", 0.5}, {name + " p99", 0.99}} {
		for _, v := range values {
			f.note(t, q.name, unit, v)
		}
		f.at[q.name] = q.at
		f.say(t, "%s: %.4g %s", q.name, quantile(values, q.at), unit)
	}
}

// quantile is the value at a part of sorted values.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// print prints the medians or whatever a figure has, and how many times as good ours
// are.
func (f *figures) print() {
	w := tabwriter.NewWriter(f.out, 0, 8, 2, ' ', 0)
	row := []string{"figure"}
	for _, t := range f.targets {
		row = append(row, t.name)
	}
	if len(f.targets) > 1 {
		row = append(row, "times as good")
	}
	_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // to a person's terminal
	for _, name := range f.names {
		row, medians := []string{name}, []float64{}
		at, ok := f.at[name]
		if !ok {
			at = 0.5
		}
		for _, t := range f.targets {
			if len(f.values[name][t]) == 0 {
				row = append(row, "-")
				continue
			}
			medians = append(medians, quantile(f.values[name][t], at))
			row = append(row, fmt.Sprintf("%.4g %s", medians[len(medians)-1], f.unit[name]))
		}
		if len(medians) == 2 && medians[0] > 0 && medians[1] > 0 {
			ratio := medians[1] / medians[0]
			if f.more[name] {
				ratio = medians[0] / medians[1]
			}
			row = append(row, fmt.Sprintf("%.2f", ratio))
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // as above
	}
	_ = w.Flush() // as above
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Fprintf(f.out, "load average %s", load) // as above
	}
}
