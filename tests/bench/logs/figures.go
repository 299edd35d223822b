package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// figure is what was measured under one name, of both by turns.
type figure struct {
	name, unit string
	// more says that more is better.
	more         bool
	ours, theirs []float64
}

// figures are the measurements, in the order of their first values.
type figures struct{ all []*figure }

// note keeps a pair of values.
func (f *figures) note(name, unit string, ours, theirs float64) {
	i := slices.IndexFunc(f.all, func(x *figure) bool { return x.name == name })
	if i < 0 {
		i = len(f.all)
		f.all = append(f.all, &figure{name: name, unit: unit, more: strings.HasSuffix(unit, "/s")})
	}
	f.all[i].ours = append(f.all[i].ours, ours)
	f.all[i].theirs = append(f.all[i].theirs, theirs)
}

// report prints the medians as a table. The last column is the median of the
// ratios of the turns: of rates ours to theirs, of all else ours to theirs too,
// where less is better.
func (f *figures) report(w io.Writer) {
	fmt.Fprintln(w, "| figure | ours | direct | ours / direct |\n|---|---|---|---|")
	for _, x := range f.all {
		var ratios []float64
		for i := range x.ours {
			ratios = append(ratios, x.ours[i]/x.theirs[i])
		}
		format := "%.1f"
		if x.more {
			format = "%.0f"
		}
		fmt.Fprintf(w, "| %s | "+format+" %s | "+format+" %s | %.2f |\n", x.name, median(x.ours), x.unit, median(x.theirs), x.unit, median(ratios))
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
