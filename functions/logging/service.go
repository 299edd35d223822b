package logging

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/rest"
)

// listEvents is the permission to read a project's events.
const listEvents = "logging.events.list"

// Service reads events back over HTTP.
type Service struct {
	// Records is where the events are.
	Records eventstore.Store
	// Authorize says whether the caller of r has the permission in the
	// project. Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Routes adds the service's one method to r:
//
//	GET /v1/projects/P/events?type=&source=&subject=&startTime=&endTime=&pageSize=&pageToken=
//
// It answers {"events": [CloudEvents in JSON …], "nextPageToken": "…"}, the
// newest first. Attributes are compared as a whole; startTime is in the
// interval, endTime is not, both are RFC 3339. The caller needs the permission
// logging.events.list.
func (s *Service) Routes(r chi.Router) {
	r.Get("/v1/projects/{project}/events", rest.Handler(s.Logger, s.list))
}

// eventList is the answer of list.
type eventList struct {
	Events        []event.Event `json:"events"`
	NextPageToken string        `json:"nextPageToken,omitempty"`
}

// list handles GET /v1/projects/P/events.
func (s *Service) list(r *http.Request) (any, error) {
	project := chi.URLParam(r, "project")
	if s.Authorize == nil {
		return nil, &fault.Error{Op: "logging.list", Kind: fault.Denied, Field: listEvents}
	}
	if err := s.Authorize(r, project, listEvents); err != nil {
		return nil, err
	}
	if _, err := resource.Project.Format(project); err != nil {
		return nil, err
	}
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	q.Project = project
	page, err := s.Records.List(r.Context(), q)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	if page.Events == nil {
		page.Events = []event.Event{} // "[]" rather than "null"
	}
	return eventList{page.Events, page.NextPageToken}, nil
}

// parseQuery reads the parameters of list. One that is unknown or there twice
// is an error, and so is one that is there and empty: none of them selects
// nothing.
func parseQuery(r *http.Request) (q eventstore.Query, err error) {
	for name, values := range r.URL.Query() {
		switch v := values[0]; {
		case len(values) > 1:
			err = errors.New("is there more than once")
		case v == "" && name != "pageToken":
			err = errors.New("is empty")
		default:
			err = set(&q, name, v)
		}
		if err != nil {
			return q, &fault.Error{
				Op: "logging.list", Kind: fault.Invalid, Reason: "INVALID_PARAMETER", Field: name,
				Err: fmt.Errorf("the parameter %q %w", name, err),
			}
		}
	}
	return q, nil
}

// set sets the parameter name of q. The error ends a sentence that begins with
// the parameter.
func set(q *eventstore.Query, name, v string) (err error) {
	switch name {
	case "type":
		q.Type = v
	case "source":
		q.Source = v
	case "subject":
		q.Subject = v
	case "startTime":
		q.From, err = parseTime(v)
	case "endTime":
		q.To, err = parseTime(v)
	case "pageSize":
		if q.PageSize, err = strconv.Atoi(v); err != nil || q.PageSize < 0 {
			err = fmt.Errorf("is %q, not a whole number from 0 on", v)
		}
	case "pageToken":
		q.PageToken = v
	default:
		err = errors.New("does not exist")
	}
	return err
}

// parseTime reads an RFC 3339 time.
func parseTime(v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, fmt.Errorf("is %q, not a time like 2026-06-01T12:00:00Z", v)
	}
	return t, nil
}
