package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/rollup"
)

// Rollups keeps what is declared; rollup.Keeper does.
type Rollups interface {
	// Refresh has it look at what is declared.
	Refresh(ctx context.Context) error
	// Statuses are those of the rollups of a metric.
	Statuses(ctx context.Context, project, metric string) ([]rollup.Status, error)
	// Rebuild computes windows again, and tells its progress.
	Rebuild(ctx context.Context, project, metric string, iv tsdb.Interval, progress func(rollup.Progress) error) error
}

// rollupRoutes adds the routes of Rollups.
func (s *Service) rollupRoutes(r chi.Router, root string) {
	if s.Rollups == nil {
		return
	}
	r.Get(root+"metricRollups/*", s.handle(ListDescriptors, s.restGetRollups))
	r.Put(root+"metricRollups/*", s.handle(CreateDescriptor, s.restSetRollups))
	r.Delete(root+"metricRollups/*", s.handle(CreateDescriptor, s.restDeleteRollups))
	r.Post(root+"metricRollups/*", s.handle(CreateDescriptor, s.restRebuildRollups))
}

// rollupJSON is a rollup as it is told and declared.
type rollupJSON struct {
	// Period is a duration in seconds, "3600s".
	Period   string        `json:"period"`
	Aligners []string      `json:"aligners"`
	GroupBy  []string      `json:"groupBy,omitempty"`
	Status   *rollupStatus `json:"status,omitempty"`
}

// rollupStatus is how far a rollup has come. It is only told.
type rollupStatus struct {
	// StartTime and EndTime bound the windows that were computed.
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	// Behind is how much time is still to be computed, as a duration.
	Behind string `json:"behind"`
	// Marked is how many windows of series are to be computed again, Stuck how
	// many cannot be kept and are read from the points.
	Marked int64 `json:"marked"`
	Stuck  int64 `json:"stuck"`
	// Owners is how many writers share the work.
	Owners int64 `json:"owners"`
}

// rollupsJSON are the rollups of a metric.
type rollupsJSON struct {
	Rollups []rollupJSON `json:"rollups"`
}

// rollupTarget is the metric that a path is about.
func (s *Service) rollupTarget(r *http.Request, project string) (tsdb.Descriptor, error) {
	metric, err := pathParam(r, "*")
	if err != nil {
		return tsdb.Descriptor{}, err
	}
	return s.Descriptors.Descriptor(r.Context(), project, metric)
}

// tellRollups answers with the rollups of a metric.
func (s *Service) tellRollups(w http.ResponseWriter, r *http.Request, d tsdb.Descriptor) error {
	statuses, err := s.Rollups.Statuses(r.Context(), d.Project, d.Type)
	if err != nil {
		return err
	}
	out := rollupsJSON{Rollups: []rollupJSON{}}
	if d.Details != nil {
		for _, one := range d.Details.Rollups {
			told := rollupJSON{Period: secondsText(one.Period), Aligners: one.Aligners, GroupBy: one.GroupBy}
			for _, st := range statuses {
				if st.Rule.Rollup.Period == one.Period && strings.Join(st.Rule.Rollup.GroupBy, "\x00") == strings.Join(one.GroupBy, "\x00") {
					told.Status = &rollupStatus{
						StartTime: time.UnixMilli(int64(st.After)).UTC(), EndTime: time.UnixMilli(int64(st.Until)).UTC(),
						Behind: secondsText(time.Duration(max(0, st.Now-st.Until)) * time.Millisecond),
						Marked: st.Marked, Stuck: st.Stuck, Owners: st.Owners,
					}
				}
			}
			out.Rollups = append(out.Rollups, told)
		}
	}
	return writePlain(w, out)
}

// restGetRollups answers GET metricRollups/TYPE.
func (s *Service) restGetRollups(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	d, err := s.rollupTarget(r, project)
	if err != nil {
		return err
	}
	return s.tellRollups(w, r, d)
}

// maxRollups bounds the body of a declaration, in bytes.
const maxRollups = 64 << 10

// restSetRollups answers PUT metricRollups/TYPE: the rollups in the body are
// those of the metric from then on.
func (s *Service) restSetRollups(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	d, err := s.rollupTarget(r, project)
	if err != nil {
		return err
	}
	bad := func(err error) error {
		return &fault.Error{Op: "monitoring.SetRollups", Kind: fault.Invalid, Reason: "MALFORMED_JSON", Field: "body", Err: err}
	}
	var in rollupsJSON
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRollups))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return bad(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bad(errors.New("there is something after the object"))
	}
	rollups := make([]tsdb.Rollup, len(in.Rollups))
	for i, one := range in.Rollups {
		period, err := seconds(one.Period)
		if err != nil {
			return invalid(fmt.Sprintf("rollups[%d].period", i), `%.40q is no duration in seconds, such as "3600s"`, one.Period)
		}
		rollups[i] = tsdb.Rollup{Period: period, Aligners: one.Aligners, GroupBy: one.GroupBy}
	}
	return s.declareRollups(w, r, d, rollups)
}

// restDeleteRollups answers DELETE metricRollups/TYPE.
func (s *Service) restDeleteRollups(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	d, err := s.rollupTarget(r, project)
	if err != nil {
		return err
	}
	return s.declareRollups(w, r, d, nil)
}

// declareRollups makes rollups those of a metric.
func (s *Service) declareRollups(w http.ResponseWriter, r *http.Request, d tsdb.Descriptor, rollups []tsdb.Rollup) error {
	if err := rollup.Check(d, rollups); err != nil {
		return err
	}
	declarations, ok := s.Descriptors.(tsdb.Rolled)
	if !ok {
		return &fault.Error{Op: "monitoring.SetRollups", Kind: fault.Unsupported, Reason: "NO_ROLLUPS", Err: errors.New("descriptors here have no rollups")}
	}
	d, err := declarations.SetRollups(r.Context(), d.Project, d.Type, rollups)
	if err != nil {
		return err
	}
	if err := s.Rollups.Refresh(r.Context()); err != nil {
		return err
	}
	return s.tellRollups(w, r, d)
}

// rebuildProgress is a line of the answer to a rebuild. The last one is Done, or
// has an Error.
type rebuildProgress struct {
	// Rollup is the period of the one under way, Windows how many of its Total
	// windows are computed.
	Rollup  string          `json:"rollup,omitempty"`
	Windows int64           `json:"windows"`
	Total   int64           `json:"total"`
	Done    bool            `json:"done,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// rebuildIdle bounds how long one line of progress may take.
const rebuildIdle = 10 * time.Minute

// restRebuildRollups answers POST metricRollups/TYPE:rebuild: the windows of the
// interval are computed again, of all rollups of the metric. The answer is lines
// of JSON, as it goes. It can be begun anew when it was cut off.
func (s *Service) restRebuildRollups(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "interval.startTime", "interval.endTime")
	if err != nil {
		return err
	}
	path, err := pathParam(r, "*")
	if err != nil {
		return err
	}
	metric, ok := strings.CutSuffix(path, ":rebuild")
	if !ok {
		return &fault.Error{Op: "monitoring.RebuildRollups", Name: path, Kind: fault.NotFound, Err: errors.New("there is only the method :rebuild")}
	}
	iv := tsdb.Interval{Start: 0, End: tsdb.Millis(time.Now().UnixMilli())}
	if at := p.instant("interval.startTime"); !at.IsZero() {
		iv.Start = tsdb.Millis(at.UnixMilli())
	}
	if at := p.instant("interval.endTime"); !at.IsZero() {
		iv.End = tsdb.Millis(at.UnixMilli())
	}
	if p.err != nil {
		return p.err
	}
	if iv.Start > iv.End {
		return invalid("interval.startTime", "it is later than the end")
	}
	if _, err := s.Descriptors.Descriptor(r.Context(), project, metric); err != nil {
		return err
	}
	out := http.NewResponseController(w)
	begun := false
	tell := func(line rebuildProgress) error {
		if !begun {
			w.Header().Set("Content-Type", "application/x-ndjson")
			begun = true
		}
		_ = out.SetWriteDeadline(time.Now().Add(rebuildIdle)) // a connection without deadlines needs none
		if err := json.NewEncoder(w).Encode(line); err != nil {
			return fmt.Errorf("%w: %w", errReader, err)
		}
		_ = out.Flush() // what cannot be flushed comes with the rest
		return nil
	}
	_ = out.SetWriteDeadline(time.Now().Add(rebuildIdle)) // as above
	err = s.Rollups.Rebuild(r.Context(), project, metric, iv, func(at rollup.Progress) error {
		return tell(rebuildProgress{Rollup: secondsText(at.Rule.Rollup.Period), Windows: at.Done, Total: at.Total})
	})
	switch {
	case errors.Is(err, errReader):
		return nil
	case err != nil && !begun:
		return err
	case err != nil:
		s.logFailed(r, err)
		_ = tell(rebuildProgress{Error: mustJSON(json.Marshal(fault.ProblemOf(err).Error))}) // who went away needs no answer
		return nil
	}
	_ = tell(rebuildProgress{Done: true}) // as above
	return nil
}

// logFailed tells of an error in the middle of an answer.
func (s *Service) logFailed(r *http.Request, err error) {
	if s.Logger != nil {
		s.Logger.WarnContext(r.Context(), "rebuilding rollups failed", slog.Any("error", err))
	}
}
