package command

import (
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// lossList is the answer of the loss ledger.
type lossList struct {
	Totals []struct {
		Stream   string    `json:"stream"`
		Reason   string    `json:"reason"`
		Count    int64     `json:"count"`
		LastTime time.Time `json:"lastTime"`
	} `json:"totals"`
	Recent []map[string]any `json:"recent"`
}

// losses is `selvedge losses`.
func (a *app) losses() *cobra.Command {
	return &cobra.Command{
		Use: "losses", Short: "What was dropped of a project's events, where and why", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			var l lossList
			if err := a.client().Call(c.Context(), http.MethodGet, "/v1/projects/"+a.project+"/losses", nil, nil, &l); err != nil {
				return err
			}
			return a.print(l, func(w io.Writer) {
				row(w, "STREAM", "REASON", "COUNT", "LAST")
				for _, t := range l.Totals {
					row(w, t.Stream, t.Reason, t.Count, t.LastTime.Format(time.RFC3339))
				}
			})
		},
	}
}

// status is `selvedge status`.
func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "The platform's figures: events, triggers, journal", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			var s struct {
				Events   map[string]int64 `json:"events"`
				Triggers []map[string]any `json:"triggers"`
				Journal  map[string]any   `json:"journal"`
			}
			if err := a.client().Call(c.Context(), http.MethodGet, "/v1/status", nil, nil, &s); err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) {
				row(w, "TRIGGER", "MATCHED", "DELIVERED", "RETRIED", "DEAD LETTERED", "FAILED", "PENDING")
				for _, t := range s.Triggers {
					row(w, t["trigger"], t["matched"], t["delivered"], t["retried"], t["deadLettered"], t["failed"], t["pending"])
				}
			})
		},
	}
}
