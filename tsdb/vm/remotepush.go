package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Pusher = (*Remote)(nil)

const (
	// pushWindows is how many windows a server computes at most: its own
	// default (-search.maxPointsPerTimeseries).
	pushWindows = 30_000
	// pushPeriod is the shortest period: of shorter ones a server replaces the
	// last points by the ones before, if they are near its own clock.
	pushPeriod = tsdb.Millis(time.Minute / time.Millisecond)
	// pushValueBytes is what a window of a series takes of an answer, at most.
	pushValueBytes = 64
	// pushSeriesBytes is what a series takes beside its windows, about.
	pushSeriesBytes = 4 << 10
	// dedupFlag is the flag by which a server counts a repeated time once; with
	// one millisecond it does so by the same rule as Select.
	dedupFlag = `dedup.minScrapeInterval="1ms"`
)

// pushed are MetricsQL's functions that compute what an aligner does, to the
// last bit: over the points of (t-d, t], in the order of time. Those of the
// second table do so only where a repeated time counts once.
var (
	pushedAlways = map[string]string{"ALIGN_MAX": "max_over_time"}
	pushedOnce   = map[string]string{
		"ALIGN_MIN": "min_over_time", "ALIGN_SUM": "sum_over_time",
		"ALIGN_COUNT": "count_over_time", "ALIGN_MEAN": "avg_over_time",
	}
)

// Push implements tsdb.Pusher by query_range of MetricsQL. What is pushed is
// what is known to be equal: ALIGN_MAX, and with the flag
// -dedup.minScrapeInterval=1ms on the server also ALIGN_MIN, ALIGN_SUM,
// ALIGN_COUNT and ALIGN_MEAN, in windows of at least a minute that the
// retention does not cut. A server that refuses for a limit of its own is not
// asked again in the same call.
func (r *Remote) Push(ctx context.Context, sel tsdb.Selection, a tsdb.Alignment, visit func(*tsdb.Series, tsdb.Points) error) (bool, error) {
	const op = "tsdb/vm.Remote.Push"
	if err := r.use(op); err != nil {
		return false, err
	}
	defer r.users.Done()
	kept := r.options.kept(time.Now(), 0)
	first := a.End - tsdb.Millis(a.Windows)*a.Period + 1
	if sel.Project == "" || a.Period < pushPeriod || a.Windows > pushWindows || a.Windows < 1 || first < kept.Start || a.End > kept.End {
		return false, nil
	}
	function := r.pushes(ctx, a.Aligner)
	if function == "" {
		return false, nil
	}
	if err := r.show(ctx); err != nil {
		return false, fmt.Errorf("%s: %w", op, err)
	}
	fill(&sel.MaxSeries, r.options.MaxSeries)
	fill(&sel.MaxPoints, r.options.MaxPoints)
	found, err := r.aligned(ctx, &sel, a, function)
	if err != nil || found == nil {
		return false, err
	}
	for _, x := range found {
		if err := ctx.Err(); err != nil {
			return true, fmt.Errorf("%s: %w", op, err)
		}
		if err := visit(x.series, x.points.view()); err != nil {
			return true, err
		}
	}
	return true, nil
}

// pushes is the function of MetricsQL for an aligner, "" if there is none that
// this server computes alike.
func (r *Remote) pushes(ctx context.Context, aligner string) string {
	if function := pushedAlways[aligner]; function != "" {
		return function
	}
	function := pushedOnce[aligner]
	if function != "" && r.once(ctx) {
		return function
	}
	return ""
}

// once reports whether the server counts a repeated time once. It is asked
// until it has answered: its flags cannot change while it runs, and one that is
// started anew with others is a mistake of whoever runs it.
func (r *Remote) once(ctx context.Context) bool {
	if known := r.deduplicates.Load(); known != nil {
		return *known
	}
	if r.cluster {
		return false
	}
	text, err := r.ask(ctx, r.nodes[0], "/flags", nil)
	if err != nil {
		return false
	}
	known := bytes.Contains(text, []byte(dedupFlag))
	r.deduplicates.Store(&known)
	return known
}

// aligned asks the server; nil means that it cannot or that its answer cannot
// be told from another.
func (r *Remote) aligned(ctx context.Context, sel *tsdb.Selection, a tsdb.Alignment, function string) ([]*exported, error) {
	e := &export{remote: r, sel: *sel, byName: map[string]*exported{}}
	seconds := func(ms tsdb.Millis) string { return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64) }
	period := strconv.FormatInt(int64(a.Period), 10) + "ms"
	answer, err := r.do(ctx, r.get("/api/v1/query_range", url.Values{
		"query": {function + "(" + e.matcherWhere() + "[" + period + "]) keep_metric_names"},
		"start": {seconds(a.End - tsdb.Millis(a.Windows-1)*a.Period)}, "end": {seconds(a.End)}, "step": {period},
		"nocache": {"1"},
	}))
	if err != nil {
		return nil, ctx.Err() // a limit of the server, or it is away: Select finds out
	}
	limit := int64(sel.MaxPoints)*pushValueBytes + int64(sel.MaxSeries)*pushSeriesBytes
	var result struct {
		Partial bool `json:"isPartial"`
		Data    struct {
			Result []pushedSeries `json:"result"`
		} `json:"data"`
	}
	err = json.NewDecoder(io.LimitReader(answer, limit)).Decode(&result)
	if err = errors.Join(err, answer.Close()); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unavailable("/api/v1/query_range", err)
	}
	if result.Partial {
		return nil, unavailable("/api/v1/query_range", errPartial)
	}
	found, points := []*exported{}, 0
	for _, s := range result.Data.Result {
		x, err := s.identify(e)
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		if x == unsure || x.of != nil { // or a part of distributions
			return nil, nil
		}
		if err := s.take(x); err != nil {
			return nil, unavailable("/api/v1/query_range", err)
		}
		found, points = append(found, x), points+x.points.len()
		if err := errors.Join(bound("series", len(found), sel.MaxSeries), bound("points", points, sel.MaxPoints)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// pushedSeries is a series of an answer of query_range.
type pushedSeries struct {
	Metric map[string]string `json:"metric"`
	// Values are pairs of a time in seconds and a number as text.
	Values [][2]json.RawMessage `json:"values"`
}

// unsure stands for a series whose name cannot be told, or whose values are no
// numbers.
var unsure = &exported{}

// identify is the series, nil if it is not kept.
func (s *pushedSeries) identify(e *export) (*exported, error) {
	var mn storage.MetricName
	for key, value := range s.Metric {
		if strings.ContainsRune(key+value, utf8.RuneError) {
			return unsure, nil // what it was cannot be told: JSON has no other bytes
		}
		if key == "__name__" {
			mn.MetricGroup = []byte(value)
			continue
		}
		mn.AddTag(key, value)
	}
	slices.SortFunc(mn.Tags, func(a, b storage.Tag) int { return bytes.Compare(a.Key, b.Key) })
	x, err := e.identify(&storage.MetricName{}, mn.Marshal(nil))
	if err != nil {
		return nil, &fault.Error{Op: "tsdb/vm.Remote.Push", Kind: fault.Internal, Err: err}
	}
	return x, nil
}

// take reads the values.
func (s *pushedSeries) take(x *exported) error {
	x.points.grow(len(s.Values))
	for _, pair := range s.Values {
		at, err := strconv.ParseFloat(string(pair[0]), 64)
		if err != nil {
			return fmt.Errorf("time %q: %w", pair[0], err)
		}
		v, err := strconv.ParseFloat(strings.Trim(string(pair[1]), `"`), 64)
		if err != nil {
			return fmt.Errorf("value %q: %w", pair[1], err)
		}
		x.points.times = append(x.points.times, int64(at*1000+0.5))
		x.points.values = append(x.points.values, v)
	}
	return nil
}

// matcherWhere is matcher with the conditions that the server can look up. They
// decide nothing: what they let through is asked about again.
func (e *export) matcherWhere() string {
	m := strings.TrimSuffix(e.matcher(), "}")
	for _, c := range e.sel.Where {
		key := labelOf(c)
		if key == "" {
			key = "__name__"
		}
		if !plainKey.MatchString(key) {
			continue
		}
		if expression := alternatives(c); expression != "" {
			m += "," + key + "=~" + strconv.Quote(expression)
		}
	}
	return m + "}"
}

// plainKey are the label names that need no quotes in a matcher.
var plainKey = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
