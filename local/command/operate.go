package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/local/snapshot"
	"selvedge.dev/sdk/client"
	"selvedge.dev/tsdb/cardinality"
)

// unhurried calls the platform with no bound on how long it takes.
func (a *app) unhurried() *client.Client {
	return &client.Client{URL: a.url, Key: a.key, HTTP: &http.Client{}}
}

// seriesPath is the path of what there is about time series.
func (a *app) seriesPath(method string) string {
	return "/v3/projects/" + a.project + "/timeSeries" + method
}

// metricsCardinality is `selvedge metrics cardinality`.
func (a *app) metricsCardinality() *cobra.Command {
	var top int
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "cardinality [FILTER]",
		Short: "Show how many series there are, of which metrics, and which labels make them",
		Long: `Show how many series had points lately, the metrics with the most of them, and
the labels with the most values: a label whose values are as many as its series
holds an id.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v := url.Values{"top": {strconv.Itoa(top)}, "interval.startTime": {time.Now().Add(-since).UTC().Format(time.RFC3339Nano)}}
			if len(args) > 0 {
				v.Set("filter", args[0])
			}
			var r struct {
				cardinality.Report
				Active int `json:"active"`
				Limit  int `json:"limit"`
			}
			if err := a.unhurried().Call(c.Context(), http.MethodGet, a.seriesPath(":cardinality"), v, nil, &r); err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) {
				row(w, "SERIES", "ACTIVE", "LIMIT", "")
				row(w, r.Series, r.Active, r.Limit, bar(r.Active, r.Limit))
				row(w, "\nMETRIC", "SERIES", "")
				for _, m := range r.Metrics {
					row(w, m.Type, m.Series, bar(m.Series, r.Metrics[0].Series))
				}
				row(w, "\nLABEL", "VALUES", "", "SERIES")
				for _, l := range r.Labels {
					row(w, l.Name, l.Values, bar(l.Values, r.Labels[0].Values), l.Series)
				}
			})
		},
	}
	cmd.Flags().IntVar(&top, "top", 10, "how many metrics and labels to show")
	cmd.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back to look")
	return cmd
}

// barWidth is how many characters a full bar has.
const barWidth = 30

// bar draws how much n is of most, in eighths of a character.
func bar(n, most int) string {
	if n <= 0 || most <= 0 {
		return ""
	}
	eighths := max(1, min(n, most)*barWidth*8/most)
	parts := []rune("▏▎▍▌▋▊▉")
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string(parts[rest-1])
	}
	return text
}

// metricsDelete is `selvedge metrics delete`.
func (a *app) metricsDelete() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:     "delete FILTER",
		Short:   "Remove the time series that match a monitoring filter, with all of their points",
		Example: `  selvedge metrics delete 'metric.type = "requests" AND metric.labels.id = starts_with("tmp-")' --dry-run`,
		Args:    exactly("FILTER"),
		RunE: func(c *cobra.Command, args []string) error {
			var answer struct {
				Series int `json:"series"`
			}
			body := map[string]any{"filter": args[0], "validateOnly": dry}
			if err := a.unhurried().Call(c.Context(), http.MethodPost, a.seriesPath(":delete"), nil, body, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) {
				row(w, map[bool]string{true: "WOULD DELETE", false: "DELETED"}[dry])
				row(w, fmt.Sprint(answer.Series, " series"))
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only count them")
	return cmd
}

// bounds are the bounds of a project or metric as the platform tells them.
type bounds struct {
	Retention        string            `json:"retention"`
	MaxSeries        int               `json:"maxSeries"`
	Metrics          map[string]bounds `json:"metrics,omitempty"`
	StorageRetention string            `json:"storageRetention,omitempty"`
	WouldLose        *struct {
		Series int `json:"series"`
		Points int `json:"points"`
	} `json:"wouldLose,omitempty"`
}

// metricsRetention is `selvedge metrics retention`.
func (a *app) metricsRetention() *cobra.Command {
	var keep string
	var most int
	var dry bool
	cmd := &cobra.Command{
		Use:   "retention [METRIC]",
		Short: "Show or set how long points are kept, and how many series there may be",
		Long: `Show or set how long the points of a project, or of one of its metrics, are kept,
and how many series may be active. That of a metric goes before that of the
project. With --dry-run nothing is set, and what would be lost is counted.`,
		Example: `  selvedge metrics retention
  selvedge metrics retention --keep 2160h --dry-run
  selvedge metrics retention com.example.climate/debug --keep 72h --max-series 1000`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, body := a.seriesPath("Bounds"), map[string]any{}
			if len(args) > 0 {
				path += "/" + url.PathEscape(args[0])
			}
			if c.Flags().Changed("keep") {
				d, err := time.ParseDuration(cmp.Or(keep, "0"))
				if err != nil {
					return usageError{fmt.Errorf("--keep %q: want a duration such as 720h, or 0 for as long as can be", keep)}
				}
				body["retention"] = strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
			}
			if c.Flags().Changed("max-series") {
				body["maxSeries"] = most
			}
			var b bounds
			var err error
			if len(body) > 0 || dry {
				err = a.unhurried().Call(c.Context(), http.MethodPatch, path, url.Values{"validateOnly": {strconv.FormatBool(dry)}}, body, &b)
			} else {
				err = a.client().Call(c.Context(), http.MethodGet, path, nil, nil, &b)
			}
			if err != nil {
				return err
			}
			return a.print(b, func(w io.Writer) { drawBounds(w, cmp.Or(slices.Concat(args, []string{"(project)"})[0], "-"), b) })
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "keep points so long, such as 720h; 0 is as long as can be")
	cmd.Flags().IntVar(&most, "max-series", 0, "how many series may be active; 0 is the bound of the platform; of a project only administrators set it")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only count what would be lost")
	return cmd
}

// drawBounds writes bounds as a table.
func drawBounds(w io.Writer, name string, b bounds) {
	kept := func(text string) string {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return d.String()
		}
		return "as long as can be"
	}
	most := func(n int) string {
		if n == 0 {
			return "the platform's"
		}
		return strconv.Itoa(n)
	}
	row(w, "METRIC", "KEPT", "MAX SERIES")
	row(w, name, kept(b.Retention), most(b.MaxSeries))
	types := make([]string, 0, len(b.Metrics))
	for typ := range b.Metrics {
		types = append(types, typ)
	}
	slices.Sort(types)
	for _, typ := range types {
		row(w, typ, kept(b.Metrics[typ].Retention), most(b.Metrics[typ].MaxSeries))
	}
	if b.StorageRetention != "" {
		row(w, "(storage)", kept(b.StorageRetention), "")
	}
	if b.WouldLose != nil {
		row(w, "\nWOULD LOSE", fmt.Sprint(b.WouldLose.Points, " points"), fmt.Sprint("of ", b.WouldLose.Series, " series"))
	}
}

// metricsSnapshot is `selvedge metrics snapshot`.
func (a *app) metricsSnapshot() *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot FILE",
		Short: "Copy all metrics of the running platform into a file",
		Long: `Copy the time series of all projects, with their descriptors, keys, losses and
stored events, into a file, while the platform runs. All that was acknowledged
before is in it. Resources, such as devices, are not: see "selvedge export".`,
		Args: exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			body, err := a.unhurried().Stream(c.Context(), "/v1/snapshots", nil, client.Body{})
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }() // it was read
			return a.download(body, args[0])
		},
	}
}

// metricsRestore is `selvedge metrics restore`.
func (a *app) metricsRestore() *cobra.Command {
	data := ""
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data folder of a snapshot",
		Long: `Make a data folder of a snapshot, for "selvedge up --data". The folder must be
empty or not be there.`,
		Args: exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := os.Open(args[0])
			if err != nil {
				return err
			}
			m, err := snapshot.Restore(in, data)
			if err = errors.Join(err, in.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s is as it was at %s: %d files, %d bytes.\n", data, m.Time.Format(time.RFC3339), m.Files, m.Bytes)
			if m.Server != "" && err == nil {
				_, err = fmt.Fprintf(a.out, "The series are in the snapshot %s of the VictoriaMetrics server.\n", m.Server)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", defaultData(), "the folder to make")
	return cmd
}
