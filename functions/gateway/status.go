package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// readStatus is the permission to read the platform's figures.
const readStatus = "platform.status.get"

// Status is the door to the platform's figures: GET /v1/status.
type Status struct {
	// Read collects the figures, as something that encodes to JSON.
	Read func() any
	// Authorize says whether the caller has a permission; nil decides by what he
	// is alone.
	Authorize func(r *http.Request, project, permission string) error
}

// Routes adds the door.
func (s Status) Routes(r chi.Router) {
	r.Get("/v1/status", func(w http.ResponseWriter, r *http.Request) {
		if err := allowed(s.Authorize, r, "", readStatus); err != nil {
			fault.Write(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(s.Read()) // the client went away
	})
}

// allowed asks whether the caller has a permission in a project.
func allowed(authorize func(r *http.Request, project, permission string) error, r *http.Request, project, permission string) error {
	if authorize == nil {
		authorize = iam.Authorize
	}
	return authorize(r, project, permission)
}
