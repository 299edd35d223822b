package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/ledger"
)

// listLosses is the permission to read a project's loss ledger.
const listLosses = "logging.losses.list"

// Losses is the door to the loss ledger: GET /v1/projects/P/losses.
type Losses struct {
	Ledger ledger.Ledger
	// Authorize is as that of [Status].
	Authorize func(r *http.Request, project, permission string) error
}

// Routes adds the door.
func (l Losses) Routes(r chi.Router) {
	r.Get("/v1/projects/{project}/losses", l.list)
}

// lossList is the answer: the counts, and the newest losses one by one.
type lossList struct {
	Totals []ledger.Total `json:"totals"`
	Recent []recentLoss   `json:"recent"`
}

// recentLoss is one loss.
type recentLoss struct {
	Stream string    `json:"stream"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
	Count  int       `json:"count"`
	Source string    `json:"source"`
	ID     string    `json:"id"`
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
}

// The bounds of the parameter recent.
const (
	defaultRecent = 20
	maxRecent     = 1000
)

// list handles GET /v1/projects/P/losses?recent=N.
func (l Losses) list(w http.ResponseWriter, r *http.Request) {
	project := chi.URLParam(r, "project")
	if err := allowed(l.Authorize, r, project, listLosses); err != nil {
		fault.Write(w, err)
		return
	}
	answer, err := l.read(r, project)
	if err != nil {
		fault.Write(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(answer) // the client went away
}

// read collects the answer.
func (l Losses) read(r *http.Request, project string) (*lossList, error) {
	recent := defaultRecent
	for name, values := range r.URL.Query() {
		n, err := strconv.Atoi(values[0])
		if name != "recent" || err != nil || n < 0 || n > maxRecent {
			return nil, &fault.Error{
				Op: "gateway.losses", Kind: fault.Invalid, Reason: "INVALID_PARAMETER", Field: name,
				Err: fmt.Errorf("the one parameter is recent, a number from 0 to %d", maxRecent),
			}
		}
		recent = n
	}
	totals, err := l.Ledger.Totals(r.Context(), project)
	if err != nil {
		return nil, err
	}
	losses, err := l.Ledger.Recent(r.Context(), project, recent)
	if err != nil {
		return nil, err
	}
	out := &lossList{Totals: totals, Recent: make([]recentLoss, len(losses))}
	if totals == nil {
		out.Totals = []ledger.Total{}
	}
	for i, x := range losses {
		out.Recent[i] = recentLoss{x.Stream, x.Reason, x.Detail, x.Count, x.Source, x.ID, x.Type, x.Time}
	}
	return out, nil
}
