package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// descriptor is a metric descriptor as the platform shows it.
type descriptor struct {
	Type       string `json:"type"`
	MetricKind string `json:"metricKind"`
	ValueType  string `json:"valueType"`
	Unit       string `json:"unit,omitempty"`
}

// series is a time series as the platform answers it, in the shape of
// google.monitoring.v3.TimeSeries.
type series struct {
	Metric     labelled `json:"metric"`
	Resource   labelled `json:"resource"`
	MetricKind string   `json:"metricKind"`
	ValueType  string   `json:"valueType"`
	Unit       string   `json:"unit,omitempty"`
	Points     []point  `json:"points"`
}

// labelled is a metric or a monitored resource.
type labelled struct {
	Type   string            `json:"type"`
	Labels map[string]string `json:"labels,omitempty"`
}

// point is one point of a series.
type point struct {
	Interval struct {
		StartTime *time.Time `json:"startTime,omitempty"`
		EndTime   time.Time  `json:"endTime"`
	} `json:"interval"`
	Value map[string]any `json:"value"`
}

// number is the point's value, whatever its type; of a distribution its mean.
func (p point) number() float64 {
	for _, v := range p.Value {
		switch v := v.(type) {
		case float64:
			return v
		case string: // int64 in JSON
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				return n
			}
		case bool:
			if v {
				return 1
			}
		case map[string]any:
			mean, _ := v["mean"].(float64) // one of zero is left out
			return mean
		}
	}
	return 0
}

// metrics is `selvedge metrics`.
func (a *app) metrics() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the metric types of a project", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := pages[descriptor](c.Context(), a.client(), "/v3/projects/"+a.project+"/metricDescriptors", "metricDescriptors", nil)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				row(w, "TYPE", "KIND", "VALUE", "UNIT")
				for _, d := range all {
					row(w, d.Type, d.MetricKind, d.ValueType, d.Unit)
				}
			})
		},
	}
	return group("metrics", "Time series of a project", list, a.metricsQuery(), a.metricsExport(), a.metricsImport(),
		a.metricsCardinality(), a.metricsDelete(), a.metricsRetention(), a.metricsRollups(), a.metricsSnapshot(), a.metricsRestore())
}

// aligned is what to query: the flags that query and export have in common.
type aligned struct {
	since, until, period time.Duration
	align, reduce        string
	by                   []string
}

// flags adds the flags.
func (q *aligned) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&q.since, "since", 10*time.Minute, "how far back to look")
	f.DurationVar(&q.until, "until", 0, "how far back to end; 0 is now")
	f.StringVar(&q.align, "align", "", "aligner: mean, min, max, sum, count, delta, rate, percentile_99 and others; none by default")
	f.DurationVar(&q.period, "period", time.Minute, "alignment period")
	f.StringVar(&q.reduce, "reduce", "", "reducer across series: mean, min, max, sum, count, percentile_99 and others")
	f.StringSliceVar(&q.by, "by", nil, "what the reducer keeps apart, such as resource.labels.device_id")
}

// values are the parameters of the query.
func (q *aligned) values(filter string) url.Values {
	now := time.Now().UTC()
	if q.align != "" && q.period > 0 {
		// Windows hang on the end: so they begin on the clock, where rollups do.
		now = now.Add(q.period - 1).Truncate(q.period)
	}
	v := url.Values{
		"filter":             {filter},
		"interval.startTime": {now.Add(-q.since).Format(time.RFC3339Nano)},
		"interval.endTime":   {now.Add(-q.until).Format(time.RFC3339Nano)},
	}
	if q.align != "" {
		v.Set("aggregation.perSeriesAligner", "ALIGN_"+strings.ToUpper(q.align))
		v.Set("aggregation.alignmentPeriod", strconv.FormatFloat(q.period.Seconds(), 'f', -1, 64)+"s")
	}
	if q.reduce != "" {
		v.Set("aggregation.crossSeriesReducer", "REDUCE_"+strings.ToUpper(q.reduce))
	}
	if len(q.by) > 0 {
		v["aggregation.groupByFields"] = q.by
	}
	return v
}

// metricsQuery is `selvedge metrics query`.
func (a *app) metricsQuery() *cobra.Command {
	var q aligned
	var explain bool
	cmd := &cobra.Command{
		Use:   "query FILTER",
		Short: "Draw the time series that match a monitoring filter",
		Long: `Draw the time series that match a filter of the Google Cloud Monitoring v3
language, aligned and reduced as asked.`,
		Example: `  selvedge metrics query 'metric.type = "com.example.climate/temperature"' --since 1h --align mean --period 1m
  selvedge metrics query 'metric.type = starts_with("dev.selvedge.host")' --align max --reduce max --by metric.type`,
		Args: exactly("FILTER"),
		RunE: func(c *cobra.Command, args []string) error {
			if explain {
				return a.explainQuery(c, q.values(args[0]))
			}
			all, err := pages[series](c.Context(), a.client(), "/v3/projects/"+a.project+"/timeSeries", "timeSeries", q.values(args[0]))
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) { draw(w, all) })
		},
	}
	q.flags(cmd)
	cmd.Flags().BoolVar(&explain, "explain", false, "show also what was read for the first page, and how long it took")
	return cmd
}

// metricsExport is `selvedge metrics export`.
func (a *app) metricsExport() *cobra.Command {
	var q aligned
	var format, file string
	cmd := &cobra.Command{
		Use:   "export FILTER",
		Short: "Write time series as CSV, lines of JSON or Parquet",
		Long: `Write the points of the time series that match a filter to a file, or to the
standard output, aligned and reduced as asked: one row for each point, with its
times, metric, resource, labels and value.`,
		Example: `  selvedge metrics export 'metric.type = "com.example.climate/temperature"' --since 720h --align mean --period 1h --file climate.parquet
  selvedge metrics export 'resource.labels.device_id = "d"' --since 24h --format csv`,
		Args: exactly("FILTER"),
		RunE: func(c *cobra.Command, args []string) error {
			v := q.values(args[0])
			if format == "" {
				format = cmp.Or(strings.TrimPrefix(filepath.Ext(file), "."), "csv")
			}
			v.Set("format", format)
			body, err := a.client().Open(c.Context(), "/v3/projects/"+a.project+"/timeSeries:export", v)
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }() // it was read
			return a.download(body, file)
		},
	}
	q.flags(cmd)
	cmd.Flags().StringVar(&format, "format", "", "csv, ndjson or parquet; by default what the file's name ends in, or else csv")
	cmd.Flags().StringVar(&file, "file", "", "the file to write; the standard output by default")
	return cmd
}

// download writes body to a file, "" for the standard output. A file is there
// whole or not at all.
func (a *app) download(body io.Reader, file string) error {
	if file == "" {
		_, err := io.Copy(a.out, body)
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	n, err := io.Copy(part, body)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	_, err = fmt.Fprintf(a.errOut, "%s: %d bytes\n", file, n)
	return err
}

// drawn is how many points a drawing has room for; the newest are drawn.
const drawn = 60

// draw writes one line per series: what it is, a drawing from the oldest point
// to the newest, and the figures that people look for first.
func draw(w io.Writer, all []series) {
	merged := mergePages(all)
	if len(merged) == 0 {
		row(w, "no series matches, or none has points in the interval")
		return
	}
	row(w, "SERIES", "POINTS", "DRAWING", "MIN", "MAX", "LAST", "AT")
	for _, s := range merged {
		if len(s.Points) == 0 {
			continue
		}
		values := make([]float64, len(s.Points))
		for i, p := range s.Points {
			values[len(values)-1-i] = p.number() // the answer has the newest first
		}
		newest := s.Points[0]
		row(w, s.name(), len(values), sparkline(values[max(0, len(values)-drawn):]),
			short(slices.Min(values)), short(slices.Max(values)), short(newest.number())+s.Unit,
			newest.Interval.EndTime.Format(time.RFC3339))
	}
}

// mergePages joins the parts of a series that was cut between two pages.
func mergePages(all []series) []series {
	var out []series
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].name() == s.name() {
			out[n-1].Points = append(out[n-1].Points, s.Points...)
			continue
		}
		out = append(out, s)
	}
	return out
}

// name says which series it is.
func (s series) name() string {
	parts := []string{cmp.Or(s.Metric.Type, s.Resource.Type)}
	for _, labels := range []map[string]string{s.Resource.Labels, s.Metric.Labels} {
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			if k != "project_id" {
				parts = append(parts, k+"="+labels[k])
			}
		}
	}
	return strings.Join(parts, " ")
}

// short is v with the digits that a person reads.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// bars are the heights of a drawing.
const bars = "▁▂▃▄▅▆▇█"

// sparkline draws values between their least and their greatest.
func sparkline(values []float64) string {
	heights := []rune(bars)
	low, high := slices.Min(values), slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		h := 0
		if high > low {
			h = int((v - low) / (high - low) * float64(len(heights)-1))
		}
		_, _ = fmt.Fprintf(&b, "%c", heights[h]) // a Builder takes everything
	}
	return b.String()
}
