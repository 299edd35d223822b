package monitoring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// defaultMaxFuture is how far ahead of now a point may be: that of tsdb/ingest,
// so that every door takes the same points.
const defaultMaxFuture = 48 * time.Hour

// minTime is the earliest time of a point: the year 1678, the first that Unix
// time in nanoseconds as an int64 reaches, which storages use.
const minTime tsdb.Millis = -9_223_372_036_854

// createServiceTimeSeries answers CreateServiceTimeSeries, which is for the
// metrics of Google's own services.
func (s *Service) createServiceTimeSeries(context.Context, target, *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	return nil, &fault.Error{
		Op: "monitoring.CreateServiceTimeSeries", Kind: fault.Unsupported, Reason: "NO_SERVICE_METRICS",
		Err: errors.New("there are no metrics of services here: write to any metric by CreateTimeSeries"),
	}
}

// createTimeSeries answers CreateTimeSeries: every point gets its own verdict.
// The good ones are durable when it returns, also when it returns an error with
// the others.
func (s *Service) createTimeSeries(ctx context.Context, t target, req *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	const op = "monitoring.CreateTimeSeries"
	if s.Series == nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unsupported, Reason: "READ_ONLY", Err: errors.New("points cannot be written here")}
	}
	if _, err := resource.Project.Format(t.project); err != nil {
		return nil, err
	}
	if len(req.GetTimeSeries()) == 0 {
		return nil, invalid("timeSeries", "at least one is required")
	}
	in := s.intake(t.project)
	for i, ts := range req.GetTimeSeries() {
		if err := in.series(ctx, i, ts); err != nil {
			return nil, err
		}
	}
	if in.points == 0 {
		return nil, invalid("timeSeries.points", "at least one is required")
	}
	if len(in.samples) > 0 {
		if err := s.Series.Append(ctx, in.samples); err != nil {
			return nil, ingest.Retried(err)
		}
		if err := s.syncs.sync(ctx, s.Series); err != nil {
			return nil, ingest.Retried(err)
		}
	}
	if len(in.refused) > 0 {
		return nil, in.verdict(op)
	}
	return &emptypb.Empty{}, nil
}

// tellLosses tells a client of ours over REST how many points were refused for
// which reason, and what was dropped of the others.
func tellLosses(w http.ResponseWriter, err error, dropped []function.Loss) {
	var refused *refusal
	if errors.As(err, &refused) {
		dropped = append(slices.Clone(refused.losses), dropped...)
	}
	if len(dropped) > 0 && (err == nil || refused != nil) {
		w.Header().Set(function.LossesHeader, function.FormatLosses(dropped))
	}
}

// intake makes samples of the points of one request.
type intake struct {
	*Service
	project string
	// earliest and latest bound the times of points.
	earliest, latest tsdb.Millis
	check            func(tsdb.Sample) string

	points  int
	samples []tsdb.Sample
	refused []refusedPoint
}

// refusedPoint is a point that is not written.
type refusedPoint struct {
	series, point int
	of            *monitoringpb.TimeSeries
	reason        string
	kind          fault.Kind
	text          string
}

// intake begins a request.
func (s *Service) intake(project string) *intake {
	now := time.Now()
	future := s.Bounds.MaxFuture
	if future <= 0 {
		future = defaultMaxFuture
	}
	in := &intake{Service: s, project: project, earliest: minTime, latest: tsdb.Millis(now.Add(future).UnixMilli())}
	if s.Bounds.Retention > 0 {
		in.earliest = tsdb.Millis(now.Add(-s.Bounds.Retention).UnixMilli())
	}
	in.check = func(tsdb.Sample) string { return "" }
	if c, ok := s.Series.(ingest.Checker); ok {
		in.check = c.Check
	}
	return in
}

// why is why a point or a whole series is refused; nil when it is not.
type why struct {
	reason, text string
	kind         fault.Kind
}

// refuse is a reason of kind Invalid.
func refuse(reason, format string, args ...any) *why {
	return &why{reason: reason, text: fmt.Sprintf(format, args...), kind: fault.Invalid}
}

// series takes the points of one series. An error ends the request: nothing of
// it is written then.
func (in *intake) series(ctx context.Context, i int, ts *monitoringpb.TimeSeries) error {
	in.points += len(ts.GetPoints())
	lose := func(point int, w *why) {
		in.refused = append(in.refused, refusedPoint{series: i, point: point, of: ts, reason: w.reason, kind: w.kind, text: w.text})
	}
	if len(ts.GetPoints()) == 0 {
		return invalid(fmt.Sprintf("timeSeries[%d].points", i), "at least one is required")
	}
	var into *tsdb.Series
	var whole *why
	for j, p := range ts.GetPoints() {
		at, v, w := in.point(ts, p)
		if w != nil {
			lose(j, w)
			continue
		}
		if into == nil && whole == nil { // only a good point makes a descriptor
			var err error
			if into, whole, err = in.describe(ctx, ts, v); err != nil {
				return err
			}
		}
		if whole != nil {
			lose(j, whole)
			continue
		}
		if w := v.fits(into.ValueType); w != nil {
			lose(j, w)
			continue
		}
		sample := tsdb.Sample{Series: into, Time: at, Value: v.number, Distribution: v.distribution}
		if reason := in.check(sample); reason != "" {
			lose(j, refuse(reason, "the storage does not keep it"))
			continue
		}
		if v.lost > 0 {
			function.Drop(ctx, ExemplarNotKept, v.lost)
		}
		in.samples = append(in.samples, sample)
	}
	return nil
}
