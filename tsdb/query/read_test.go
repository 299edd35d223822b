package query_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// scanner is a memory store that is a tsdb.Scanner too, and counts the series
// that were read.
type scanner struct {
	tsdb.Store

	reads int
}

// Scan implements tsdb.Scanner.
func (s *scanner) Scan(ctx context.Context, sel tsdb.Selection, work func(*tsdb.Series, tsdb.Points) (any, error), visit func(*tsdb.Series, any) (bool, error)) error {
	type made struct {
		series *tsdb.Series
		points tsdb.Points
	}
	var all []made
	err := s.Select(ctx, sel, func(series *tsdb.Series, p tsdb.Points) error {
		all = append(all, made{series, tsdb.Points{Times: slices.Clone(p.Times), Values: slices.Clone(p.Values)}})
		return nil
	})
	slices.SortFunc(all, func(a, b made) int { return strings.Compare(a.series.Key(), b.series.Key()) })
	for _, m := range all {
		s.reads++
		out, err := work(m.series, m.points)
		if err != nil {
			return err
		}
		clear(m.points.Values) // they are no longer valid
		if more, err := visit(m.series, out); err != nil || !more {
			return err
		}
	}
	return err
}

// A store that scans gives the same pages as one that selects, and is read no
// further than to the end of the page.
func TestList_ScansLikeItSelects(t *testing.T) {
	t.Parallel()
	const series, points = 12, 10
	selects := memory.New(nil)
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range series {
		s := &tsdb.Series{
			Project: "p", Metric: "m", Resource: "device",
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprintf("d%02d", i)}, {Name: "site", Value: fmt.Sprint(i % 3)}},
		}
		for j := range points {
			at := tsdb.Millis(base.Add(time.Duration(j+1) * 10 * time.Second).UnixMilli())
			require.NoError(t, selects.Append(t.Context(), []tsdb.Sample{{Series: s, Time: at, Value: float64(i*j + 1)}}))
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		scans := &scanner{Store: selects}
		req := query.Request{
			Project: "p", Filter: `metric.type = "m"`, Start: base, End: base.Add(100 * time.Second),
			PageSize: rapid.IntRange(1, 130).Draw(rt, "page size"),
			View:     rapid.SampledFrom([]string{"FULL", "HEADERS"}).Draw(rt, "view"),
			Aggregation: query.Aggregation{
				PerSeriesAligner: rapid.SampledFrom([]string{"ALIGN_NONE", "ALIGN_MEAN"}).Draw(rt, "aligner"),
			},
		}
		if req.Aggregation.PerSeriesAligner != "ALIGN_NONE" {
			req.Aggregation.AlignmentPeriod = time.Duration(rapid.IntRange(1, 50).Draw(rt, "period")) * time.Second
			if rapid.Bool().Draw(rt, "reduce") {
				req.Aggregation.CrossSeriesReducer, req.Aggregation.GroupByFields = "REDUCE_SUM", []string{"resource.label.site"}
			}
		}
		for {
			want, err := query.New(selects, query.Options{}).List(t.Context(), req)
			require.NoError(rt, err)
			scans.reads = 0
			got, err := query.New(scans, query.Options{}).List(t.Context(), req)
			require.NoError(rt, err)
			require.Equal(rt, want, got)
			if req.View == "FULL" && req.Aggregation.PerSeriesAligner == "ALIGN_NONE" {
				require.LessOrEqual(rt, scans.reads, req.PageSize/points+3)
			}
			if req.PageToken = got.Next; req.PageToken == "" {
				return
			}
		}
	})
}
