package prometheus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	upstream "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// removal is how an oracle removed names.
type removal int

// The ways to remove names, in the order in which they are tried.
const (
	atOnce removal = iota
	atTheEnd
	// unlessAsked is at the end, but not those that an aggregation groups by.
	unlessAsked
)

// oracle is Prometheus' engine, and the one with the flag
// promql-delayed-name-removal.
type oracle struct{ stock, delayed upstream.QueryEngine }

// newOracle is one that ends with the test.
func newOracle(t testing.TB) oracle { return oracle{stock(t, false), stock(t, true)} }

// ask is the answer of the first that does not fail since two results have the same
// labels, and which that was.
func (o oracle) ask(ctx context.Context, data storage.Queryable, q promql.Query) (v parser.Value, how removal, err error) {
	alike := func() bool { return err != nil && strings.Contains(err.Error(), "same labelset") }
	if v, err = ask(ctx, o.stock, data, q); !alike() {
		return v, atOnce, err
	}
	if v, err = ask(ctx, o.delayed, data, q); !alike() {
		return v, atTheEnd, err
	}
	if q.Text, err = keeping(q.Text); err != nil {
		return nil, unlessAsked, err
	}
	v, err = ask(ctx, o.delayed, data, q)
	return v, unlessAsked, err
}

// keeping is a query whose aggregations by the metric's name keep it: Prometheus
// with delayed removal keeps a name that a function of labels set.
func keeping(text string) (string, error) {
	p := parser.NewParser(parser.Options{})
	e, err := p.ParseExpr(text)
	if err != nil {
		return "", err
	}
	var kept func(e parser.Expr) parser.Expr
	kept = func(e parser.Expr) parser.Expr {
		switch e := e.(type) {
		case *parser.BinaryExpr:
			e.LHS, e.RHS = kept(e.LHS), kept(e.RHS)
		case *parser.Call:
			for i, a := range e.Args {
				e.Args[i] = kept(a)
			}
		case *parser.ParenExpr:
			e.Expr = kept(e.Expr)
		case *parser.UnaryExpr:
			e.Expr = kept(e.Expr)
		case *parser.SubqueryExpr:
			e.Expr = kept(e.Expr)
		case *parser.StepInvariantExpr:
			e.Expr = kept(e.Expr)
		case *parser.AggregateExpr:
			e.Expr = kept(e.Expr)
			if e.Param != nil {
				e.Param = kept(e.Param)
			}
			if picks := e.Op == parser.TOPK || e.Op == parser.BOTTOMK; !picks && !e.Without && slices.Contains(e.Grouping, model.MetricNameLabel) {
				args := parser.Expressions{e}
				for _, s := range []string{model.MetricNameLabel, "$1", model.MetricNameLabel, "(.+)"} {
					args = append(args, &parser.StringLiteral{Val: s})
				}
				return &parser.Call{Func: parser.Functions["label_replace"], Args: args}
			}
		}
		return e
	}
	return kept(e).String(), nil
}

// several makes the selectors of one metric in an expression those of several, and
// groups by and matches names, here and there.
func several(t *rapid.T, text string) string {
	if strings.Contains(text, "topk") || strings.Contains(text, "bottomk") {
		return text // of what has equals any may be taken
	}
	if chance(t, 3) {
		text = one(t, "sum", "max", "avg", "count") + " by (__name__" + one(t, "", ", job", ", instance") + ") (" + one(t, "abs", "", "-", "ceil") + "(" + text + "))"
	}
	var pairs []string
	put := func(old, by string) {
		if chance(t, 6) {
			pairs = append(pairs, old, by)
		}
	}
	for _, s := range [][2]string{{"temperature", "temperature|up"}, {"requests_total", "requests_total|latency_bucket"}, {"up", "up|temperature|requests_total"}, {"latency_bucket", "latency.*|other_bucket"}} {
		if chance(t, 7) {
			pairs = append(pairs, s[0]+"{", `{__name__=~"`+s[1]+`",`, s[0], `{__name__=~"`+s[1]+`"}`)
		}
	}
	put(" by (job)", " by (__name__, job)")
	put(" by ()", " by (__name__)")
	put(" by (instance, path)", " by (instance, __name__)")
	put("on (job)", "on (job, __name__)")
	put("on ()", "on (__name__)")
	put("on (job, instance)", "on (__name__, job, instance, path)")
	return strings.NewReplacer(pairs...).Replace(text)
}

// like asks both and compares.
func like(ctx context.Context, o oracle, theirs storage.Queryable, ours *promql.Engine, q promql.Query) (removal, error) {
	want, how, wantErr := o.ask(ctx, theirs, q)
	run := ours.Instant
	if q.Step > 0 {
		run = ours.Range
	}
	got, gotErr := run(ctx, q)
	if (wantErr != nil) != (gotErr != nil) {
		return how, fmt.Errorf("%s at %d to %d step %s, %d: Prometheus says %w, we say %w", q.Text, q.Start, q.End, q.Step, how, wantErr, gotErr)
	}
	if wantErr != nil {
		return -1, nil
	}
	if diff := difference(want, resultOf(got)); diff != "" {
		return how, fmt.Errorf("%s at %d to %d step %s, %d: %s", q.Text, q.Start, q.End, q.Step, how, diff)
	}
	return how, nil
}

// withOther are the random data and a histogram that differs from another by its
// name alone.
func withOther() []row {
	all := rows(1, origin)
	for _, one := range rows(5, origin) {
		if one.name == "latency_bucket" {
			one.name = "other_bucket"
			all = append(all, one)
		}
	}
	return all
}

// TestNames_AsPrometheus asks about several metrics at once.
func TestNames_AsPrometheus(t *testing.T) {
	t.Parallel()
	theirs, store := inBoth(t, withOther())
	o, ours := newOracle(t), promql.New(store, &memory.Descriptors{}, promql.Options{})
	f := func(how removal, text string) {
		t.Helper()
		at := tsdb.Millis(origin + 1000_000)
		for _, q := range []promql.Query{{Start: at}, {Start: at, End: at + 600_000, Step: time.Minute}, {Start: at, End: at + 700_000, Step: 3 * time.Minute}} {
			q.Text, q.Project = text, project
			got, err := like(t.Context(), o, theirs, ours, q)
			require.NoError(t, err)
			require.Equal(t, how, got, text)
		}
	}
	f(atOnce, `rate(requests_total[5m])`)
	f(atOnce, `sum by (__name__) (rate(requests_total[5m]))`)
	f(atOnce, `sum by (__name__) ({__name__=~"up|temperature"})`)
	f(atOnce, `last_over_time({__name__=~"up|temperature"}[5m])`)
	// Of the Time Series Benchmark Suite.
	f(unlessAsked, `max(max_over_time({__name__=~'(up|temperature)', instance=~'i1|i2'}[1m])) by (__name__)`)
	f(unlessAsked, `avg(avg_over_time({__name__=~'(up|temperature|requests_total)'}[10m])) by (__name__, instance)`)
	f(unlessAsked, `topk(3, sum by (__name__) (rate({job="a"}[5m])))`)
	f(unlessAsked, `sum by (__name__) (rate({job="a"}[5m])) > 0`)
	f(unlessAsked, `sum by (__name__) (rate({job="a"}[5m])) or vector(1)`)
	f(unlessAsked, `last_over_time(sum by (__name__) (-{job="a"})[5m:1m]) or sum by (__name__) (abs({job="a"}))`)
	// With the flag.
	f(atTheEnd, `sum(rate({__name__=~"up|temperature"}[5m]))`)
	f(atTheEnd, `sum by (job) (rate({__name__=~"up|temperature"}[5m]))`)
	f(atTheEnd, `count(-{job="a"})`)
	f(atTheEnd, `max without (instance) (abs({__name__=~"up|temperature"}) * 2)`)
	f(atTheEnd, `label_replace(rate({__name__=~"up|temperature"}[5m]), "metric", "$1", "__name__", "(.+)")`)
	f(atTheEnd, `label_replace(rate({__name__=~"up|temperature"}[5m]), "__name__", "rate_$1", "__name__", "(.+)")`)
	f(atTheEnd, `label_join(delta({__name__=~"up|temperature"}[5m]), "__name__", "_", "__name__", "job")`)
	f(atTheEnd, `label_replace(sum by (__name__) (rate({job="a"}[5m])), "__name__", "$1", "__name__", "(.+)")`)
	f(atTheEnd, `count_values by (__name__) ("v", changes({__name__=~"up|temperature"}[3m]))`)
	f(atTheEnd, `histogram_quantile(0.9, sum by (le, job) (rate({__name__=~"latency_bucket|other_bucket"}[5m])))`)
	f(atTheEnd, `sum by (job) (histogram_quantile(0.9, rate({__name__=~"latency_bucket|other_bucket"}[5m])))`)
	f(atTheEnd, `sum(max_over_time(rate({__name__=~"up|temperature"}[5m])[10m:1m]))`)
	f(atTheEnd, `rate({__name__=~"up|temperature"}[5m]) > on (__name__, job, instance) rate({__name__=~"up|temperature"}[5m] offset 1m)`)
	f(atTheEnd, `({__name__=~"up|temperature"} > bool 0) and on (__name__) temperature`)
	f(atTheEnd, `abs({__name__=~"up|temperature"}) unless on (__name__) up`)
	// There is no answer.
	f(-1, `rate({__name__=~"up|temperature"}[5m])`)
	f(-1, `-{job="a"}`)
	f(-1, `sum by (__name__) (rate({job="a"}[5m])) * 2`)
	f(-1, `sum by (__name__, job) ({__name__=~"up|temperature"}) + on (__name__, job) sum by (__name__, job) ({__name__=~"up|temperature"})`)
	f(-1, `abs({__name__=~"up|temperature"}) + on (job, instance) up`)
	f(-1, `label_replace(abs({__name__=~"up|temperature"}), "__name__", "same", "", "")`)
}

// TestNames_AsPrometheusAtRandom asks random queries about several metrics.
func TestNames_AsPrometheusAtRandom(t *testing.T) {
	t.Parallel()
	theirs, store := inBoth(t, withOther())
	o, ours := newOracle(t), promql.New(store, &memory.Descriptors{}, promql.Options{})
	answers := map[removal]int{}
	rapid.Check(t, func(r *rapid.T) {
		for range 10 {
			q := queries(r, rapid.IntRange(1, 4).Draw(r, "depth"), origin)
			if q.Step > 0 && strings.Contains(q.Text, "@") {
				q.End, q.Step = 0, 0 // where Prometheus leaves equal labels, since it evaluates once
			}
			q.Text = several(r, q.Text)
			how, err := like(t.Context(), o, theirs, ours, q)
			if err != nil {
				r.Fatal(err)
			}
			answers[how]++
		}
	})
	t.Log(answers)
	require.Greater(t, answers[atTheEnd], 100)
	require.Greater(t, answers[unlessAsked], 10)
}
