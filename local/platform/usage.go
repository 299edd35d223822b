package platform

import (
	"context"
	"log/slog"
	"time"

	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/tsdb"
)

// usageEvery is how often the figures of functions become points.
const usageEvery = 10 * time.Second

// usageMetrics are the metrics of functions, of the monitored resource that
// Google has for revisions of Knative.
var usageMetrics = []struct {
	name string
	kind tsdb.MetricKind
	of   func(s serving.RevisionStats) float64
}{
	{"request_count", tsdb.Cumulative, func(s serving.RevisionStats) float64 { return float64(s.Requests) }},
	{"refused_count", tsdb.Cumulative, func(s serving.RevisionStats) float64 { return float64(s.Refused) }},
	{"cold_start_count", tsdb.Cumulative, func(s serving.RevisionStats) float64 { return float64(s.ColdStarts) }},
	{"restart_count", tsdb.Cumulative, func(s serving.RevisionStats) float64 { return float64(s.Restarts) }},
	{"instances", tsdb.Gauge, func(s serving.RevisionStats) float64 { return float64(s.Instances) }},
	{"in_flight", tsdb.Gauge, func(s serving.RevisionStats) float64 { return float64(s.InFlight) }},
}

// usagePrefix begins the types of these metrics.
const usagePrefix = "knative.dev/serving/revision/"

// runUsage keeps the figures of functions as time series of their projects,
// until ctx ends. A function that sleeps has no points.
func (p *Platform) runUsage(ctx context.Context) error {
	tick := time.NewTicker(usageEvery)
	defer tick.Stop()
	told := map[string]serving.RevisionStats{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			samples := usage(p.serving.Stats(), told, now)
			if len(samples) == 0 {
				continue
			}
			if err := p.keepUsage(ctx, samples); err != nil && ctx.Err() == nil {
				p.log.Warn("the figures of functions cannot be kept", slog.Any("error", err))
			}
		}
	}
}

// keepUsage describes and appends points of functions.
func (p *Platform) keepUsage(ctx context.Context, samples []tsdb.Sample) error {
	for _, s := range samples {
		d := tsdb.Descriptor{Project: s.Series.Project, Type: s.Series.Metric, Kind: s.Series.Kind, ValueType: s.Series.ValueType, Unit: s.Series.Unit}
		if _, err := p.metrics.Ensure(ctx, d); err != nil {
			return err
		}
	}
	return p.rollups.Append(ctx, samples)
}

// usage is the figures of the revisions that did something since they were
// told, or have instances.
func usage(all []serving.RevisionStats, told map[string]serving.RevisionStats, now time.Time) []tsdb.Sample {
	var out []tsdb.Sample
	for _, s := range all {
		at := s.Namespace + "/" + s.Revision
		before := told[at]
		told[at] = s
		if s.Instances == 0 && before.Instances == 0 && s.Requests == before.Requests {
			continue
		}
		for _, m := range usageMetrics {
			out = append(out, tsdb.Sample{Time: tsdb.Millis(now.UnixMilli()), Value: m.of(s), Series: &tsdb.Series{
				Project: s.Namespace, Metric: usagePrefix + m.name, Resource: "knative_revision", Kind: m.kind, ValueType: tsdb.Int64, Unit: "1",
				ResourceLabels: tsdb.LabelsOf(map[string]string{"service_name": s.Service, "revision_name": s.Revision}),
			}})
		}
	}
	return out
}
