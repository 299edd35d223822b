package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/sdk/client"
)

// rollups are the rollups of a metric, as the platform tells and takes them.
type rollups struct {
	Rollups []rollupOf `json:"rollups"`
}

// rollupOf is one rollup.
type rollupOf struct {
	Period   string        `json:"period"`
	Aligners []string      `json:"aligners"`
	GroupBy  []string      `json:"groupBy,omitempty"`
	Status   *rollupStatus `json:"status,omitempty"`
}

// rollupStatus is how far a rollup has come.
type rollupStatus struct {
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	Behind    string    `json:"behind"`
	Marked    int64     `json:"marked"`
	Stuck     int64     `json:"stuck"`
	Owners    int64     `json:"owners"`
}

// rollupsPath is the path of the rollups of a metric.
func (a *app) rollupsPath(metric, method string) string {
	parts := strings.Split(metric, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/v3/projects/" + a.project + "/metricRollups/" + strings.Join(parts, "/") + method
}

// metricsRollups is `selvedge metrics rollups`.
func (a *app) metricsRollups() *cobra.Command {
	call := func(c *cobra.Command, method, metric string, in any) error {
		var r rollups
		if err := a.client().Call(c.Context(), method, a.rollupsPath(metric, ""), nil, in, &r); err != nil {
			return err
		}
		return a.print(r, func(w io.Writer) { r.draw(w) })
	}
	list := &cobra.Command{
		Use: "list TYPE", Short: "Show the rollups of a metric, and how far they have come", Args: exactly("TYPE"),
		RunE: func(c *cobra.Command, args []string) error { return call(c, http.MethodGet, args[0], nil) },
	}
	remove := &cobra.Command{
		Use: "delete TYPE", Short: "Keep no rollups of a metric any more", Args: exactly("TYPE"),
		RunE: func(c *cobra.Command, args []string) error { return call(c, http.MethodDelete, args[0], nil) },
	}
	return group("rollups", "Summaries that are kept of a metric, for long queries", list, a.rollupsAdd(), remove, a.rollupsRebuild())
}

// draw writes a table.
func (r rollups) draw(w io.Writer) {
	if len(r.Rollups) == 0 {
		row(w, "the metric has no rollups")
		return
	}
	row(w, "PERIOD", "ALIGNERS", "GROUPS", "FROM", "UNTIL", "BEHIND", "MARKED", "STUCK")
	for _, one := range r.Rollups {
		st := one.Status
		if st == nil {
			st = &rollupStatus{}
		}
		row(w, one.Period, strings.Join(one.Aligners, ","), strings.Join(one.GroupBy, ","),
			st.StartTime.Format(time.RFC3339), st.EndTime.Format(time.RFC3339), st.Behind, st.Marked, st.Stuck)
	}
}

// rollupsAdd is `selvedge metrics rollups add`.
func (a *app) rollupsAdd() *cobra.Command {
	var period time.Duration
	var aligners, by []string
	cmd := &cobra.Command{
		Use:   "add TYPE",
		Short: "Keep a rollup of a metric",
		Long: `Keep a rollup of a metric: for every window of a period what some aligners need.
It begins with the oldest points that there are. One of the same period and
groups is replaced.`,
		Example: `  selvedge metrics rollups add com.example.climate/temperature --period 1h --align mean,max
  selvedge metrics rollups add com.example.cpu/load --period 1h --align sum --by resource.labels.site`,
		Args: exactly("TYPE"),
		RunE: func(c *cobra.Command, args []string) error {
			var have rollups
			if err := a.client().Call(c.Context(), http.MethodGet, a.rollupsPath(args[0], ""), nil, nil, &have); err != nil {
				return err
			}
			one := rollupOf{Period: fmt.Sprintf("%gs", period.Seconds()), GroupBy: by}
			for _, name := range aligners {
				one.Aligners = append(one.Aligners, "ALIGN_"+strings.ToUpper(name))
			}
			next := rollups{Rollups: []rollupOf{one}}
			for _, other := range have.Rollups {
				if other.Period != one.Period || strings.Join(other.GroupBy, ",") != strings.Join(by, ",") {
					other.Status = nil
					next.Rollups = append(next.Rollups, other)
				}
			}
			var r rollups
			if err := a.client().Call(c.Context(), http.MethodPut, a.rollupsPath(args[0], ""), nil, next, &r); err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) { r.draw(w) })
		},
	}
	cmd.Flags().DurationVar(&period, "period", time.Hour, "the width of a window: at least 10s, and a divisor of a day or whole days")
	cmd.Flags().StringSliceVar(&aligners, "align", nil, "the aligners that it answers: mean, min, max, sum, count, stddev, delta, rate and others")
	cmd.Flags().StringSliceVar(&by, "by", nil, "sum the series up, and keep apart what these fields tell apart, such as resource.labels.site")
	return cmd
}

// rebuilding is a line of the progress of a rebuild.
type rebuilding struct {
	Rollup  string `json:"rollup"`
	Windows int64  `json:"windows"`
	Total   int64  `json:"total"`
	Done    bool   `json:"done"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// rollupsRebuild is `selvedge metrics rollups rebuild`.
func (a *app) rollupsRebuild() *cobra.Command {
	var since, until time.Duration
	cmd := &cobra.Command{
		Use: "rebuild TYPE", Short: "Compute the rollups of a metric again", Args: exactly("TYPE"),
		RunE: func(c *cobra.Command, args []string) error {
			now, v := time.Now().UTC(), url.Values{}
			if since > 0 {
				v.Set("interval.startTime", now.Add(-since).Format(time.RFC3339Nano))
			}
			v.Set("interval.endTime", now.Add(-until).Format(time.RFC3339Nano))
			answer, err := a.unhurried().Stream(c.Context(), a.rollupsPath(args[0], ":rebuild"), v, client.Body{})
			if err != nil {
				return err
			}
			defer func() { _ = answer.Close() }() // it was read
			return a.followRebuild(answer)
		},
	}
	cmd.Flags().DurationVar(&since, "since", 0, "how far back to begin; 0 is everything")
	cmd.Flags().DurationVar(&until, "until", 0, "how far back to end; 0 is now")
	return cmd
}

// followRebuild draws the progress of a rebuild.
func (a *app) followRebuild(answer io.Reader) error {
	var last rebuilding
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, maxProgress)
	for lines.Scan() {
		last = rebuilding{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return fmt.Errorf("read the progress: %w", err)
		}
		if last.Rollup != "" {
			_, _ = fmt.Fprintf(a.errOut, "%s: %d of %d windows\n", last.Rollup, last.Windows, last.Total) // nowhere else to tell
		}
	}
	switch {
	case lines.Err() != nil:
		return fmt.Errorf("read the progress: %w", lines.Err())
	case last.Error != nil:
		return fmt.Errorf("the rebuild ended early: %s; it can begin anew", last.Error.Message)
	case !last.Done:
		return errors.New("the rebuild ended early, without a word; it can begin anew")
	}
	return a.print(last, func(w io.Writer) { row(w, "rebuilt") })
}
