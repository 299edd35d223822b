package command

import (
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// explained is an answer with how it was made.
type explained struct {
	TimeSeries    []series `json:"timeSeries"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
	Explain       struct {
		Source       string `json:"source"`
		Reason       string `json:"reason,omitempty"`
		Series       int    `json:"series"`
		Samples      int    `json:"samples"`
		Windows      int    `json:"windows"`
		StoredPoints int    `json:"storedPoints"`
		Spans        []struct {
			StartTime time.Time `json:"startTime"`
			EndTime   time.Time `json:"endTime"`
			Source    string    `json:"source"`
			Rollup    string    `json:"rollup,omitempty"`
			Series    int       `json:"series"`
			Samples   int       `json:"samples"`
			Windows   int       `json:"windows,omitempty"`
		} `json:"spans"`
		Stages []struct {
			Name string `json:"name"`
			Took string `json:"took"`
		} `json:"stages"`
	} `json:"explain"`
}

// explainQuery draws the first page of a query, and how it was made.
func (a *app) explainQuery(c *cobra.Command, v url.Values) error {
	v.Set("explain", "true")
	var e explained
	if err := a.client().Call(c.Context(), http.MethodGet, "/v3/projects/"+a.project+"/timeSeries", v, nil, &e); err != nil {
		return err
	}
	return a.print(e, func(w io.Writer) {
		draw(w, e.TimeSeries)
		x := e.Explain
		row(w, "\nREAD", "SERIES", "SAMPLES", "WINDOWS", "STORED AS", "REASON")
		row(w, x.Source, x.Series, x.Samples, x.Windows, x.StoredPoints, x.Reason)
		row(w, "\nFROM", "UNTIL", "SOURCE", "SERIES", "SAMPLES", "WINDOWS")
		for _, s := range x.Spans {
			source := s.Source
			if s.Rollup != "" {
				source += " " + s.Rollup
			}
			row(w, s.StartTime.Format(time.RFC3339), s.EndTime.Format(time.RFC3339), source, s.Series, s.Samples, s.Windows)
		}
		row(w, "\nSTAGE", "TOOK")
		for _, s := range x.Stages {
			took, err := time.ParseDuration(s.Took)
			if err != nil {
				row(w, s.Name, s.Took)
				continue
			}
			row(w, s.Name, took.Round(time.Microsecond))
		}
	})
}
