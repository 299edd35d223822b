package promql_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// flat is a store and the descriptors of scripts: it takes NaN and stale
// markers, which the real ones refuse.
type flat struct {
	series map[string]*tsdb.Series
	points map[string]*tsdb.Points
}

// Append adds samples in order of time.
func (f *flat) Append(_ context.Context, samples []tsdb.Sample) error {
	for _, s := range samples {
		key := s.Series.Key()
		if f.points[key] == nil {
			f.series[key], f.points[key] = s.Series, &tsdb.Points{}
		}
		p := f.points[key]
		p.Times, p.Values = append(p.Times, s.Time), append(p.Values, s.Value)
	}
	return nil
}

// Select is that of tsdb.Store.
func (f *flat) Select(_ context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	for key, s := range f.series {
		if sel.Metric != "" && s.Metric != sel.Metric || !sel.Keep(s) {
			continue
		}
		var p tsdb.Points
		for i, t := range f.points[key].Times {
			if t >= sel.Interval.Start && t <= sel.Interval.End {
				p.Times, p.Values = append(p.Times, t), append(p.Values, f.points[key].Values[i])
			}
		}
		if p.Len() == 0 {
			continue
		}
		if err := visit(s, p); err != nil {
			return err
		}
	}
	return nil
}

// Sync does nothing.
func (f *flat) Sync(context.Context) error { return nil }

// Close does nothing.
func (f *flat) Close() error { return nil }

// script runs a script in the language of Prometheus' promqltest:
//
//	load STEP          then lines of: SERIES VALUES, up to an empty line
//	clear
//	eval instant at TIME QUERY               then lines of: SERIES VALUE
//	eval range from TIME to TIME step STEP QUERY
//	expect fail | ordered | string TEXT | range vector from A to B step C
//
// as far as it is about floats.
type script struct {
	store  tsdb.Store
	engine *promql.Engine
	lines  []string
	// histograms are the metrics that were not loaded since they are native
	// histograms.
	histograms []string
	// nhcb is whether native histograms were to be made of classic ones.
	nhcb     bool
	passed   int
	skipped  map[string]int
	failures []string
	// real is whether points go to the engine's own store in memory.
	real bool
}

// newScript is a script of that text.
func newScript(text string, inMemory bool) *script {
	s := &script{skipped: map[string]int{}, real: inMemory}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			line = ""
		}
		s.lines = append(s.lines, line)
	}
	s.clear()
	return s
}

// clear forgets everything that was loaded.
func (s *script) clear() {
	if s.store = tsdb.Store(&flat{series: map[string]*tsdb.Series{}, points: map[string]*tsdb.Points{}}); s.real {
		s.store = memory.New(&memory.Descriptors{})
	}
	s.engine = promql.New(s.store, &memory.Descriptors{}, promql.Options{})
	s.histograms, s.nhcb = nil, false
}

// block are the lines up to the next empty one.
func (s *script) block() []string {
	var b []string
	for len(s.lines) > 0 && s.lines[0] != "" {
		b = append(b, s.lines[0])
		s.lines = s.lines[1:]
	}
	return b
}

// run runs the whole script.
func (s *script) run(t *testing.T) {
	t.Helper()
	for len(s.lines) > 0 {
		line := s.lines[0]
		s.lines = s.lines[1:]
		switch {
		case line == "":
		case line == "clear":
			s.clear()
		case strings.HasPrefix(line, "load"):
			s.load(t, line, s.block())
		case strings.HasPrefix(line, "eval"):
			b := s.block()
			if why := s.unsupported(line, b); why != "" {
				s.skipped[why]++
			} else if err := s.eval(t.Context(), line, b); err != nil {
				s.failures = append(s.failures, fmt.Sprintf("%s\n\t\t%v", line, err))
			} else {
				s.passed++
			}
		default:
			s.skipped["statement "+line]++
		}
	}
}

// unsupported is why a statement cannot be run here, "" if it can.
func (s *script) unsupported(line string, block []string) string {
	if strings.Contains(line, "{{") || slices.ContainsFunc(block, func(l string) bool { return strings.Contains(l, "{{") }) {
		return "native histograms"
	}
	for _, h := range s.histograms {
		if strings.Contains(line, h) {
			return "native histograms"
		}
	}
	if s.nhcb && strings.Contains(line, "(") && !strings.Contains(line, "_bucket") {
		return "native histograms"
	}
	if word := notThere.FindString(atForm.ReplaceAllString(line, "")); word != "" {
		return word
	}
	return ""
}

// notThere are what Prometheus has behind a feature flag, or for native
// histograms only, and what is left out here.
var notThere = regexp.MustCompile(`\b(holt_winters|double_exponential_smoothing|limitk|limit_ratio|info|mad_over_time|first_over_time|ts_of_\w+|sort_by_label\w*|histogram_(count|sum|avg|fraction|stddev|stdvar|quantiles)|start_timestamp|anchored|smoothed|fill|fill_left|fill_right|integral|start|end|max_of|min_of|range)\b\s*[\(\]\)+*/-]?|\]\s*(anchored|smoothed)\b|</|>/|_sparse\||\bstep\(`)

// atForm are the uses of start() and end() that are not functions, and the
// words of a range statement.
var atForm = regexp.MustCompile(`@\s*(start|end)\(\)|^eval range .* step `)

// load adds the series of a block.
func (s *script) load(t *testing.T, line string, block []string) {
	t.Helper()
	step := span(strings.Fields(line)[1])
	s.nhcb = s.nhcb || strings.HasPrefix(line, "load_with_nhcb")
	for _, l := range block {
		name, labels, rest, err := parseSeries(l)
		require.NoError(t, err, l)
		if strings.Contains(rest, "{{") {
			s.histograms = append(s.histograms, name)
			continue
		}
		values, err := parseValues(rest)
		if err != nil {
			s.histograms = append(s.histograms, name)
			continue
		}
		series := &tsdb.Series{Project: "p", Metric: name, MetricLabels: labels}
		var samples []tsdb.Sample
		for i, v := range values {
			if v.there {
				samples = append(samples, tsdb.Sample{Series: series, Time: tsdb.Millis(int64(i) * step), Value: v.v})
			}
		}
		require.NoError(t, s.store.Append(t.Context(), samples))
	}
}

// The forms of the statements.
var (
	instantForm = regexp.MustCompile(`^eval(?:_(fail|warn|info|ordered))?\s+instant\s+(?:at\s+(\S+))?\s+(.+)$`)
	rangeForm   = regexp.MustCompile(`^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+?)\s+(.+)$`)
	windowForm  = regexp.MustCompile(`^expect range vector from (\S+) to (\S+) step (\S+)$`)
)

// wanted is what the lines of a block expect.
type wanted struct {
	fail, ordered bool
	text          *string
	// start and step are of the values of each series.
	start, step int64
	series      []promql.Series
	scalar      *float64
}

// eval runs one statement.
func (s *script) eval(ctx context.Context, line string, block []string) error {
	var got promql.Result
	var err error
	var want wanted
	if m := instantForm.FindStringSubmatch(line); m != nil {
		want.fail, want.ordered = m[1] == "fail", m[1] == "ordered"
		want.start, want.step = span(m[2]), 1
		got, err = s.engine.Instant(ctx, promql.Query{Project: "p", Text: m[3], Start: tsdb.Millis(want.start)})
	} else if m := rangeForm.FindStringSubmatch(line); m != nil {
		want.fail = m[1] == "fail"
		want.start, want.step = span(m[2]), span(m[4])
		got, err = s.engine.Range(ctx, promql.Query{
			Project: "p", Text: m[5], Start: tsdb.Millis(want.start), End: tsdb.Millis(span(m[3])), Step: time.Duration(want.step) * time.Millisecond,
		})
	} else {
		return fmt.Errorf("no such statement")
	}
	if perr := want.parse(block); perr != nil {
		return perr
	}
	switch {
	case want.fail && err == nil:
		return fmt.Errorf("it should fail and is %v", got)
	case want.fail:
		return nil
	case err != nil:
		return err
	}
	return want.compare(got)
}

// parse reads the lines of a block.
func (w *wanted) parse(block []string) error {
	for _, l := range block {
		if m := windowForm.FindStringSubmatch(l); m != nil {
			w.start, w.step = span(m[1]), span(m[3])
			continue
		}
		if text, ok := strings.CutPrefix(l, "expect string "); ok {
			v, err := strconv.Unquote(text)
			w.text = &v
			if err != nil {
				return err
			}
			continue
		}
		if rest, ok := strings.CutPrefix(l, "expect"); ok && (strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "_fail")) {
			w.fail = w.fail || strings.HasPrefix(rest, " fail")
			w.ordered = w.ordered || rest == " ordered"
			continue
		}
		if v, err := strconv.ParseFloat(l, 64); err == nil {
			w.scalar = &v
			continue
		}
		name, labels, rest, err := parseSeries(l)
		if err != nil {
			return err
		}
		values, err := parseValues(rest)
		if err != nil {
			return err
		}
		if name != "" {
			labels = tsdb.LabelsOf(merged(labels, "__name__", name))
		}
		series := promql.Series{Labels: labels}
		for i, v := range values {
			if v.there {
				series.Points.Times = append(series.Points.Times, tsdb.Millis(w.start+int64(i)*w.step))
				series.Points.Values = append(series.Points.Values, v.v)
			}
		}
		w.series = append(w.series, series)
	}
	return nil
}

// merged are labels with one more, as a map.
func merged(ls tsdb.Labels, name, v string) map[string]string {
	m := map[string]string{name: v}
	for _, l := range ls {
		m[l.Name] = l.Value
	}
	return m
}

// compare finds a difference between what is wanted and what came.
func (w *wanted) compare(got promql.Result) error {
	switch {
	case w.text != nil && (got.Type != promql.String || got.Text != *w.text):
		return fmt.Errorf("want the string %q, got %v", *w.text, got)
	case w.scalar != nil && (got.Type != promql.Scalar || !almost(got.Value, *w.scalar)):
		return fmt.Errorf("want the scalar %v, got %v", *w.scalar, got)
	}
	index := map[string]int{}
	for i, s := range got.Series {
		key := fmt.Sprint(s.Labels)
		if _, twice := index[key]; twice {
			return fmt.Errorf("the series %s comes twice", key)
		}
		index[key] = i
	}
	n := 0
	for at, s := range w.series {
		i, ok := index[fmt.Sprint(s.Labels)]
		if s.Points.Len() == 0 && !ok {
			continue
		}
		n++
		if !ok || w.ordered && i != at {
			return fmt.Errorf("the series %v is missing or elsewhere: %v", s.Labels, got.Series)
		}
		p := got.Series[i].Points
		if !slices.Equal(p.Times, s.Points.Times) || !slices.EqualFunc(p.Values, s.Points.Values, almost) {
			return fmt.Errorf("the series %v: want %v, got %v", s.Labels, s.Points, p)
		}
	}
	if n != len(got.Series) {
		return fmt.Errorf("want %d series, got %v", n, got.Series)
	}
	return nil
}

// almost compares floats as promqltest does.
func almost(a, b float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.IsNaN(a) && math.IsNaN(b)
	}
	return a == b || math.Abs(a-b) <= 1e-6*math.Min(math.Abs(a)+math.Abs(b), math.MaxFloat64) || math.Abs(a-b) < 1e-300
}

// span is a duration in milliseconds, 0 if it is none.
func span(s string) int64 {
	s = strings.TrimSpace(s)
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		return int64(math.Round(v * 1000))
	}
	total := int64(0)
	sign := int64(1)
	if strings.HasPrefix(s, "-") {
		sign = -1
	}
	units := map[string]int64{"y": 365 * 86400e3, "w": 7 * 86400e3, "d": 86400e3, "h": 3600e3, "m": 60e3, "s": 1e3, "ms": 1}
	for _, m := range regexp.MustCompile(`([0-9]+)(ms|[ywdhms])`).FindAllStringSubmatch(s, -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		total += n * units[m[2]]
	}
	return sign * total
}

// point is a value of a line, or a gap.
type point struct {
	v     float64
	there bool
}

// parseValues reads values: 1 2+3x4 _x3 stale.
func parseValues(text string) ([]point, error) {
	var points []point
	for _, w := range strings.Fields(text) {
		first, times := w, 0
		if i := strings.LastIndexByte(w, 'x'); i > 0 {
			n, err := strconv.Atoi(w[i+1:])
			if err != nil {
				return nil, fmt.Errorf("values %q: %w", w, err)
			}
			first, times = w[:i], n
		}
		switch first {
		case "_":
			points = append(points, slices.Repeat([]point{{}}, max(times, 1))...)
			continue
		case "stale":
			points = append(points, slices.Repeat([]point{{math.Float64frombits(0x7ff0000000000002), true}}, times+1)...)
			continue
		}
		v, step, err := parseStep(first)
		if err != nil {
			return nil, err
		}
		for i := range times + 1 {
			if i > 0 {
				v += step
			}
			points = append(points, point{v, true})
		}
	}
	return points, nil
}

// parseStep reads "1", "1+2" or "1-2".
func parseStep(s string) (v, step float64, err error) {
	if v, err = strconv.ParseFloat(s, 64); err == nil {
		return v, 0, nil
	}
	for i := len(s) - 1; i > 0; i-- {
		if s[i] != '+' && s[i] != '-' {
			continue
		}
		if v, err = strconv.ParseFloat(s[:i], 64); err != nil {
			continue
		}
		if step, err = strconv.ParseFloat(s[i:], 64); err == nil {
			return v, step, nil
		}
	}
	return 0, 0, fmt.Errorf("no number: %q", s)
}

// labelForm is a label of a series, or its quoted name.
var labelForm = regexp.MustCompile("^\\s*,?\\s*(?:([a-zA-Z_]\\w*)|(\"(?:[^\"\\\\]|\\\\.)*\"))\\s*(?:=\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`))?")

// parseSeries reads NAME{LABELS} and returns what follows.
func parseSeries(line string) (name string, labels tsdb.Labels, rest string, err error) {
	end := strings.IndexAny(line, "{ \t")
	if end < 0 {
		return line, nil, "", nil
	}
	name, rest = line[:end], line[end:]
	if rest = strings.TrimLeft(rest, " \t"); !strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "{{") {
		return name, nil, rest, nil
	}
	rest = rest[1:]
	found := map[string]string{}
	for {
		if after, ok := strings.CutPrefix(strings.TrimLeft(rest, " ,\t"), "}"); ok {
			rest = after
			break
		}
		m := labelForm.FindStringSubmatch(rest)
		if m == nil {
			return "", nil, "", fmt.Errorf("no series: %q", line)
		}
		rest = rest[len(m[0]):]
		key := m[1]
		if m[2] != "" {
			if key, err = strconv.Unquote(m[2]); err != nil {
				return "", nil, "", err
			}
		}
		if m[3] == "" {
			name = key
			continue
		}
		v := m[3]
		if v[0] == '\'' {
			v = `"` + strings.ReplaceAll(v[1:len(v)-1], `"`, `\"`) + `"`
		}
		if found[key], err = strconv.Unquote(v); err != nil {
			return "", nil, "", err
		}
	}
	if n, ok := found["__name__"]; ok {
		name = n
		delete(found, "__name__")
	}
	return name, tsdb.LabelsOf(found), rest, nil
}

// otherFiles are the files of Prometheus' scripts that are not run: they are
// about native histograms, or about what is behind a feature flag there.
var otherFiles = []string{
	"native_histograms.test", "info.test", "limit.test", "duration_expression.test", "extended_vectors.test",
	"fill-modifier.test", "start_timestamps.test", "type_and_unit.test", "unquoted_utf8_names.test",
}

// delayed are the statements whose answer is another one where names are
// removed at the end of a query only, which is behind a feature flag that
// Prometheus' scripts are run with.
var delayed = []string{
	`label_replace(rate({env="1"}[10m])`, `label_join(rate({env="1"}[10m])`, `sum(rate({env="1"}[10m])) by (env)`,
	`sum by (__name__) (`,
}

// ownScripts are the folders that Prometheus' module may be in.
func ownScripts(t *testing.T) []string {
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	var files []string
	for _, cache := range []string{os.Getenv("GOMODCACHE"), filepath.Join(os.Getenv("GOPATH"), "pkg", "mod"), filepath.Join(home, "go", "pkg", "mod")} {
		found, err := filepath.Glob(filepath.Join(cache, "github.com", "prometheus", "prometheus@v0.316.0", "promql", "promqltest", "testdata", "*.test"))
		require.NoError(t, err)
		files = append(files, found...)
	}
	return files
}

// TestPrometheus_OwnScripts runs the scripts of Prometheus' own tests, where
// its module is there to be read.
func TestPrometheus_OwnScripts(t *testing.T) {
	t.Parallel()
	files := ownScripts(t)
	if len(files) == 0 {
		t.Skip("SKIPPED: Prometheus' module is not in the module cache, so its own scripts were NOT run: go mod download github.com/prometheus/prometheus@v0.316.0 brings them")
	}
	passed, skipped := 0, 0
	var failures []string
	for _, file := range files {
		base := filepath.Base(file)
		if slices.Contains(otherFiles, base) {
			t.Logf("%s: SKIPPED, it is about native histograms or what is behind a feature flag", base)
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		s := newScript(string(text), false)
		s.run(t)
		left := 0
		for _, n := range s.skipped {
			left += n
		}
		passed += s.passed
		for _, f := range s.failures {
			if base == "name_label_dropping.test" && slices.ContainsFunc(delayed, func(d string) bool { return strings.Contains(f, d) }) {
				left++
				continue
			}
			failures = append(failures, base+": "+f)
		}
		skipped += left
		t.Logf("%s: %d passed, %d failed, %d not run %v", base, s.passed, len(s.failures), left, s.skipped)
	}
	t.Logf("%d statements pass, %d fail, %d were not run", passed, len(failures), skipped)
	require.Empty(t, failures)
}
