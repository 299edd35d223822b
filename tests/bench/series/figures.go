package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// The units of figures.
const (
	perSecond = "/s"
	ms        = "ms"
	bytes8    = "B"
	megabytes = "MB"
)

// figure is what was measured under one name, by target.
type figure struct {
	name, unit string
	values     map[string][]float64
}

// figures are the measurements, in the order of their first values.
type figures struct{ all []*figure }

// note keeps a value.
func (f *figures) note(name, unit string, t *target, v float64) {
	i := slices.IndexFunc(f.all, func(x *figure) bool { return x.name == name })
	if i < 0 {
		i = len(f.all)
		f.all = append(f.all, &figure{name: name, unit: unit, values: map[string][]float64{}})
	}
	f.all[i].values[t.name] = append(f.all[i].values[t.name], v)
}

// report prints the medians of the rounds as a table. The ratio says how many
// times as good ours is: the median of the ratios of the rounds.
func (f *figures) report(w io.Writer) {
	fmt.Fprintln(w, "| figure | Selvedge | VictoriaMetrics | times as good |\n|---|---|---|---|")
	for _, x := range f.all {
		ours, theirs := x.values[nameOurs], x.values[nameVictoria]
		var ratios []float64
		for i := range min(len(ours), len(theirs)) {
			ratio := theirs[i] / ours[i]
			if x.unit == perSecond {
				ratio = 1 / ratio
			}
			ratios = append(ratios, ratio)
		}
		format := "%.1f " + x.unit
		switch x.unit {
		case perSecond:
			format = "%.0f " + x.unit
		case bytes8:
			format = "%.2f " + x.unit
		}
		fmt.Fprintf(w, "| %s | "+format+" | "+format+" | %.2f |\n", x.name, median(ours), median(theirs), median(ratios))
	}
}

// median is the middle of some values, the mean of both if there are two.
func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	if n == 0 {
		return math.NaN()
	}
	return (all[n/2] + all[(n-1)/2]) / 2
}

// load is the machine's load average of the last minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}
