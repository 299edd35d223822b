package prometheus

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// queries are instant and range queries of a random expression on the random
// data that begins at the origin.
func queries(t *rapid.T, depth, origin int) promql.Query {
	q := promql.Query{Project: project, Text: expressions(depth).Draw(t, "expression")}
	q.Text = placed(q.Text, origin)
	q.Start = tsdb.Millis(origin + rapid.IntRange(-400, 2200).Draw(t, "start")*1000)
	if chance(t, 6) {
		q.Step = time.Duration(rapid.SampledFrom([]int{1, 15, 60, 61, 300, 3600}).Draw(t, "step")) * time.Second
		q.End = q.Start + tsdb.Millis(q.Step.Milliseconds()*int64(rapid.IntRange(0, 12).Draw(t, "steps")))
	}
	return q
}

// placed is an expression with its times at the origin.
func placed(text string, origin int) string {
	var pairs []string
	for _, s := range []int{1400, 1600, 1800} {
		pairs = append(pairs, "T"+strconv.Itoa(s), strconv.Itoa(origin/1000+s))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// TestRandom_AsPrometheus makes random queries of random data, and compares our
// answers with those of Prometheus' engine.
func TestRandom_AsPrometheus(t *testing.T) {
	t.Parallel()
	theirs, ours := inBoth(t, rows(1, origin))
	oracle := newOracle(t)
	engine := promql.New(ours, &memory.Descriptors{}, promql.Options{})
	answers, refusals := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		for range 10 {
			q := queries(r, rapid.IntRange(0, 4).Draw(r, "depth"), origin)
			want, _, wantErr := oracle.ask(t.Context(), theirs, q)
			run := engine.Instant
			if q.Step > 0 {
				run = engine.Range
			}
			got, gotErr := run(t.Context(), q)
			if (wantErr != nil) != (gotErr != nil) {
				r.Fatalf("%s: Prometheus says %v, we say %v", q.Text, wantErr, gotErr)
			}
			if wantErr != nil {
				refusals++
				continue
			}
			if diff := difference(want, resultOf(got)); diff != "" {
				r.Fatalf("%s at %d to %d step %s: %s", q.Text, q.Start, q.End, q.Step, diff)
			}
			if want.String() != "" {
				answers++
			}
		}
	})
	t.Logf("%d answers, %d refusals", answers, refusals)
}

// pieces are what a mutation puts into a query.
var pieces = strings.Split(`( ) { } [ ] , : + - * / % ^ == != < <= > >= </ >/ = =~ !~ @ " ' 1 0 .5 1e3 1e 0x1F 1_000 017 08 5m 1h30m 5m1h 1d2 Inf nan foo `+
	`foo:bar a.b sum avg topk quantile count_values limitk by without on ignoring group_left group_right bool and or unless atan2 offset start() `+
	`end() start end step range fill anchored smoothed rate rate( sum( by( time() "x" 'y' {a="b"} {"x.y"} [5m] [5m:] [5m:1m] [:] offset-5m @end() #c with `+
	`keep_metric_names if ifnot default limit prefix WITH (a,b) median( histogram_quantile( label_replace( ~ $ \ ; & | é`, " ")

// TestSyntax_AsPrometheus spoils queries, and compares what is still taken for
// one with what Prometheus' parser takes.
func TestSyntax_AsPrometheus(t *testing.T) {
	t.Parallel()
	known, err := promqltest.GetBuiltInExprs()
	require.NoError(t, err)
	require.Greater(t, len(known), 1000)
	p := parser.NewParser(parser.Options{})
	engine := promql.New(memory.New(nil), &memory.Descriptors{}, promql.Options{})
	r := rand.New(rand.NewPCG(7, 7))
	taken := 0
	for i := range 60_000 {
		text := known[r.IntN(len(known))]
		if len(text) > 300 {
			continue
		}
		for range r.IntN(3) {
			text = spoiled(r, text)
		}
		_, want := p.ParseExpr(text)
		_, got := engine.Instant(t.Context(), promql.Query{Project: project, Text: text, Start: origin})
		refused := fault.ReasonOf(got) == promql.ReasonBadData
		require.Equal(t, want != nil, refused, "%d: %s\nPrometheus says %v\nwe say %v", i, text, want, got)
		if want == nil {
			taken++
		}
	}
	t.Logf("%d were taken", taken)
}

// spoiled is a text with a piece more, or less, or elsewhere.
func spoiled(r *rand.Rand, text string) string {
	words := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
	at := r.IntN(len(text) + 1)
	switch r.IntN(5) {
	case 0:
		return text[:at] + pieces[r.IntN(len(pieces))] + text[at:]
	case 1:
		return text[:at] + " " + pieces[r.IntN(len(pieces))] + " " + text[at:]
	case 2:
		to := min(len(text), at+1+r.IntN(4))
		return text[:at] + text[to:]
	case 3:
		if len(words) > 1 {
			i, j := r.IntN(len(words)), r.IntN(len(words))
			words[i], words[j] = words[j], words[i]
		}
		return strings.Join(words, " ")
	}
	from := r.IntN(len(text) + 1)
	return text[:at] + text[min(from, at):max(from, at)] + text[at:]
}
