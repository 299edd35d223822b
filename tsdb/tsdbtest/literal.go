package tsdbtest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// distributionForm is the form of a distribution: its layout, its values, and
// whether its range is not known.
var distributionForm = regexp.MustCompile(`^([a-z]*(?::[^\[\]]*)?)\[([^\]]*)\](!?)$`)

// layoutWords are the words of layouts here and in distribution.Layout.
var layoutWords = map[string]string{"lin": "linear", "exp": "exponential", "at": "explicit", "dyn": "dynamic"}

// parseRepeated reads a distribution and how often it comes.
func parseRepeated(text string) (*tsdb.Distribution, int, error) {
	times := 1
	if i := strings.LastIndex(text, "x"); i > strings.LastIndex(text, "]") {
		n, err := strconv.Atoi(text[i+1:])
		if err != nil {
			return nil, 0, err
		}
		text, times = text[:i], n+1
	}
	d, err := parseDistribution(text)
	return d, times, err
}

// parseDistribution reads a distribution.
func parseDistribution(text string) (*tsdb.Distribution, error) {
	m := distributionForm.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("no distribution: %q", text)
	}
	word, rest, _ := strings.Cut(m[1], ":")
	layout := strings.TrimSpace(layoutWords[word] + " " + strings.ReplaceAll(rest, ":", " "))
	b, ranged, ok := distribution.ParseLayout(layout)
	if !ok || ranged || word != "" && layoutWords[word] == "" {
		return nil, fmt.Errorf("no layout: %q", m[1])
	}
	var values []float64
	for v := range strings.SplitSeq(m[2], ",") {
		if v == "" {
			continue
		}
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return nil, err
		}
		values = append(values, n)
	}
	d := distribution.Of(b, values...)
	if m[3] != "" {
		d.Range = nil
	}
	if err := distribution.Validate(d); err != nil {
		return nil, errors.Unwrap(err)
	}
	return d, nil
}

// textOf writes a distribution so that equal ones compare equal when their sums
// were rounded another way.
func textOf(d *tsdb.Distribution) string {
	near := func(v float64) string {
		if math.Abs(v) < 1e-9 {
			v = 0
		}
		return fmt.Sprintf("%.9g", v)
	}
	text := fmt.Sprintf("[%s] count %d mean %s deviation %s counts %v",
		distribution.Layout(d), d.Count, near(d.Mean), near(d.SumOfSquaredDeviation), distribution.Canonical(d).Counts)
	if d.Range != nil {
		text += fmt.Sprintf(" range %s %s", near(d.Range.Min), near(d.Range.Max))
	}
	if d.Buckets.Kind == tsdb.DynamicBuckets {
		for _, v := range d.Buckets.Bounds {
			text += " " + near(v)
		}
	}
	return text
}
