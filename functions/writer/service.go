package writer

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb/ingest"
)

// createTimeSeries is the permission to write points, by Google's name.
const createTimeSeries = "monitoring.timeSeries.create"

// maxBody bounds the body of a request: that of an event batch.
const maxBody = 4 << 20

// ReasonPartlyWritten is the reason of the answer to a request of which some
// points were refused.
const ReasonPartlyWritten = "PARTLY_WRITTEN"

// Service is the door for points: the writing half of Google Cloud
// Monitoring v3's REST API. A writer in another process stands behind it
// (tsdb/remote), and so does any client of Google's.
type Service struct {
	// Writer stores the points, with its Series, Descriptors and Options.
	Writer *Function
	// Authorize says whether the caller of r has the permission in the
	// project. Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Routes adds the service's one method to r:
//
//	POST /v3/projects/P/timeSeries    a CreateTimeSeriesRequest in JSON
//
// It answers {} when all points are durable. When some are, and the others can
// never be, it answers 400, as Google does, with the reason PARTLY_WRITTEN,
// and tells the others by reason in function.LossesHeader. The caller needs
// the permission monitoring.timeSeries.create.
func (s *Service) Routes(r chi.Router) {
	r.Post("/v3/projects/{project}/timeSeries", s.create)
}

// create handles POST /v3/projects/P/timeSeries.
func (s *Service) create(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	losses, err := s.store(r)
	if err == nil && len(losses) > 0 {
		w.Header().Set(function.LossesHeader, function.FormatLosses(losses))
		err = &fault.Error{
			Op: "writer.create", Kind: fault.Invalid, Reason: ReasonPartlyWritten, Field: "timeSeries",
			Err: fmt.Errorf("all points were written but these: %s", function.FormatLosses(losses)),
		}
	}
	if err != nil {
		if s.Logger != nil && fault.KindOf(err) == fault.Internal {
			s.Logger.LogAttrs(r.Context(), slog.LevelError, "points not written", slog.Any("error", err))
		}
		fault.Write(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, "{}\n") // the points are durable, whoever hears of it
}

// store makes the points of the request durable, and returns what was dropped.
func (s *Service) store(r *http.Request) ([]function.Loss, error) {
	project := chi.URLParam(r, "project")
	if s.Authorize == nil {
		return nil, &fault.Error{Op: "writer.create", Kind: fault.Denied, Field: createTimeSeries}
	}
	if err := s.Authorize(r, project, createTimeSeries); err != nil {
		return nil, err
	}
	if _, err := resource.Project.Format(project); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &fault.Error{Op: "writer.create", Kind: fault.TooLarge, Field: "body", Err: fmt.Errorf("the body is over %d bytes", large.Limit)}
	case err != nil:
		return nil, &fault.Error{Op: "writer.create", Kind: fault.Invalid, Field: "body", Err: fmt.Errorf("the body did not arrive whole: %w", err)}
	}
	in := ingest.Event{Project: project, Type: event.TypeTimeSeries, MediaType: r.Header.Get("Content-Type"), Data: body}
	losses, err := s.Writer.store(r.Context(), &in)
	if err != nil {
		return nil, err
	}
	if err := s.Writer.Sync(r.Context()); err != nil {
		return nil, retried(fmt.Errorf("sync: %w", err))
	}
	return losses, nil
}
