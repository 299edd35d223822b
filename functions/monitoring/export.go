package monitoring

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"selvedge.dev/tsdb/export"
	"selvedge.dev/tsdb/query"
)

// exportTime bounds an export, which may take longer than other answers.
const exportTime = 15 * time.Minute

// restExport answers GET timeSeries:export, which is not of Google: what a list
// of time series has, all of it, as a file. The parameter format says which one.
// It is written as it is read: an error in the middle breaks the connection, so
// that nobody takes a part for the whole.
func (s *Service) restExport(w http.ResponseWriter, r *http.Request, project string) error {
	format, err := export.FormatOf(r.URL.Query().Get("format"))
	if err != nil {
		return err
	}
	q := r.URL.Query()
	for _, name := range []string{"pageSize", "pageToken", "page_size", "page_token", "view", "explain"} {
		if q.Has(name) {
			return invalid(name, "an export is whole")
		}
	}
	q.Del("format")
	plain := r.Clone(r.Context())
	plain.URL.RawQuery = q.Encode()
	req, err := parseRequest(plain, project)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportTime)) // a connection without deadlines needs none
	var out export.Writer
	err = s.Engine.Each(r.Context(), req, func(x query.Result) error {
		if out == nil {
			out = beginExport(w, format)
		}
		if err := out.Write(x.Series, x.Period, x.Points); err != nil {
			return fmt.Errorf("%w: %w", errReader, err)
		}
		return nil
	})
	switch {
	case err != nil && out == nil:
		return err
	case err == nil:
		if out == nil {
			out = beginExport(w, format)
		}
		err = out.Close()
	}
	if err != nil {
		if !errors.Is(err, errReader) {
			s.log(r.Context(), r.URL.Path, err)
		}
		panic(http.ErrAbortHandler) // the way to break a connection
	}
	return nil
}

// errReader is why an export ends whose reader went away.
var errReader = errors.New("writing the answer")

// beginExport begins the answer.
func beginExport(w http.ResponseWriter, format export.Format) export.Writer {
	w.Header().Set("Content-Type", format.Type)
	w.Header().Set("Content-Disposition", `attachment; filename="timeseries.`+format.Name+`"`)
	w.WriteHeader(http.StatusOK)
	return format.New(w)
}
