package monitoring

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// Bounds of labels, in bytes: those of tsdb/ingest and of the API.
const (
	maxLabels     = 30
	maxLabelName  = 100
	maxLabelValue = 1024
)

// Reasons for which all points of a series are refused, besides those of
// tsdb/ingest.
const (
	// InvalidResource is a monitored-resource type that cannot be one, or
	// labels that it has not.
	InvalidResource = "INVALID_RESOURCE"
	// TooManyResources is a new resource type of a project that may have no
	// more.
	TooManyResources = "TOO_MANY_RESOURCES"
)

// The resource that a series without one belongs to (the API), and the label
// that every one of ours has.
const (
	globalType   = "global"
	projectLabel = "project_id"
	deviceLabel  = "device_id"
)

// describe is the series that the points of ts belong to, with the descriptors
// that first is the first point of. Why they cannot be written is no error.
func (in *intake) describe(ctx context.Context, ts *monitoringpb.TimeSeries, first value) (*tsdb.Series, *why, error) {
	out := &tsdb.Series{Project: in.project, Metric: ts.GetMetric().GetType()}
	if w := checkMetric(ts); w != nil {
		return nil, w, nil
	}
	if w, err := in.resource(ctx, ts.GetResource(), out); w != nil || err != nil {
		return nil, w, err
	}
	d, w, err := in.metric(ctx, ts, first)
	if w != nil || err != nil {
		return nil, w, err
	}
	out.MetricLabels = sorted(ts.GetMetric().GetLabels())
	out.Kind, out.ValueType, out.Unit = d.Kind, d.ValueType, d.Unit
	return out, nil, nil
}

// sorted is m as labels, nil for none.
func sorted(m map[string]string) tsdb.Labels {
	if len(m) == 0 {
		return nil
	}
	return tsdb.LabelsOf(m)
}

// checkMetric is why the metric of ts can be none.
func checkMetric(ts *monitoringpb.TimeSeries) *why {
	typ := ts.GetMetric().GetType()
	if typ == "" || strings.HasPrefix(typ, "/") || strings.HasSuffix(typ, "/") || strings.Contains(typ, "//") {
		return refuse(ingest.InvalidMetric, "the metric type %.100q cannot be one", typ)
	}
	return checkLabels(ts.GetMetric().GetLabels())
}

// checkLabels is why labels can be none.
func checkLabels(labels map[string]string) *why {
	if len(labels) > maxLabels {
		return refuse(ingest.InvalidLabel, "there are %d labels, and at most %d can be", len(labels), maxLabels)
	}
	for k, v := range labels {
		switch {
		case k == "" || len(k) > maxLabelName || !printable(k):
			return refuse(ingest.InvalidLabel, "the label %.100q cannot be one", k)
		case len(v) > maxLabelValue || !printable(v):
			return refuse(ingest.InvalidLabel, "the value of the label %q is over %d bytes, not UTF-8, or has control characters", k, maxLabelValue)
		}
	}
	return nil
}

// printable reports whether s is UTF-8 without ASCII control characters; one
// of them, NUL, separates names in tsdb.Series.Key.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// resource completes the monitored resource of a series and declares it.
func (in *intake) resource(ctx context.Context, r *monitoredrespb.MonitoredResource, out *tsdb.Series) (*why, error) {
	labels := maps.Clone(r.GetLabels())
	if w := checkLabels(labels); w != nil {
		return w, nil
	}
	out.Resource = r.GetType()
	if out.Resource == "" {
		out.Resource = globalType
		if labels[deviceLabel] != "" {
			out.Resource = deviceType
		}
	}
	if id := labels[projectLabel]; id != "" && id != in.project {
		return &why{ingest.ForeignProject, "the resource is of another project", fault.Denied}, nil
	}
	d := tsdb.ResourceDescriptor{Project: in.project, Type: out.Resource}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		d.Labels = append(d.Labels, tsdb.LabelDescriptor{Key: k})
	}
	have := device(in.project)
	if in.Resources != nil {
		var err error
		have, err = in.Resources.EnsureResource(ctx, d)
		switch fault.KindOf(err) {
		case fault.Invalid:
			return refuse(InvalidResource, "the monitored-resource type %.100q cannot be one", out.Resource), nil
		case fault.Exhausted:
			return &why{TooManyResources, "the project may have no more monitored-resource types", fault.Exhausted}, nil
		}
		if err != nil {
			return nil, err
		}
	} else if out.Resource != deviceType {
		return refuse(InvalidResource, "there is no monitored-resource type %.100q", out.Resource), nil
	}
	for _, l := range d.Labels {
		if !hasLabel(have.Labels, l.Key) {
			return refuse(ingest.InvalidLabel, "the monitored resource %q has no label %q", out.Resource, l.Key), nil
		}
	}
	if hasLabel(have.Labels, projectLabel) {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[projectLabel] = in.project
	}
	out.ResourceLabels = sorted(labels)
	return nil, nil
}

// hasLabel reports whether a label is declared.
func hasLabel(labels []tsdb.LabelDescriptor, key string) bool {
	return slices.ContainsFunc(labels, func(l tsdb.LabelDescriptor) bool { return l.Key == key })
}

// metric is the descriptor of the metric of ts, made by first if there is none.
// Labels that a descriptor lacks are added (the API).
func (in *intake) metric(ctx context.Context, ts *monitoringpb.TimeSeries, first value) (tsdb.Descriptor, *why, error) {
	kind, typ := kinds[ts.GetMetricKind()], valueTypes[ts.GetValueType()]
	if typ != "" && typ != first.typ {
		return tsdb.Descriptor{}, refuse(ingest.TypeConflict, "the value type is %s, the value of type %s", typ, first.typ), nil
	}
	d := tsdb.Descriptor{Project: in.project, Type: ts.GetMetric().GetType(), Kind: kind, ValueType: first.typ, Unit: ts.GetUnit()}
	keys := slices.Sorted(maps.Keys(ts.GetMetric().GetLabels()))
	d.Details = detailsOf(keys)
	have, err := in.Descriptors.Ensure(ctx, d)
	if w, err := refusalOf(err); w != nil || err != nil {
		return have, w, err
	}
	switch {
	case kind != "" && kind != have.Kind:
		return have, refuse(ingest.KindConflict, "the metric is of kind %s, not %s", have.Kind, kind), nil
	case ts.GetMetricKind() > metricpb.MetricDescriptor_CUMULATIVE || ts.GetMetricKind() < 0:
		return have, refuse(ingest.KindConflict, "there is no metric kind %d", ts.GetMetricKind()), nil
	case d.Unit != "" && have.Unit != "" && d.Unit != have.Unit:
		return have, refuse(ingest.UnitConflict, "the metric is in %.64q, not %.64q", have.Unit, d.Unit), nil
	}
	return in.withLabels(ctx, have, keys)
}

// detailsOf are the details of a metric that is made by its first point: the
// labels that it has, nil for none.
func detailsOf(keys []string) *tsdb.Details {
	if len(keys) == 0 {
		return nil
	}
	out := &tsdb.Details{}
	for _, k := range keys {
		out.Labels = append(out.Labels, tsdb.LabelDescriptor{Key: k})
	}
	return out
}

// withLabels adds the labels to a descriptor that lists its labels.
func (in *intake) withLabels(ctx context.Context, have tsdb.Descriptor, keys []string) (tsdb.Descriptor, *why, error) {
	declarations, ok := in.Descriptors.(tsdb.Declarations)
	if have.Details == nil || !ok {
		return have, nil, nil
	}
	details := *have.Details
	details.Labels = slices.Clone(details.Labels)
	for _, k := range keys {
		if !hasLabel(details.Labels, k) {
			details.Labels = append(details.Labels, tsdb.LabelDescriptor{Key: k})
		}
	}
	if len(details.Labels) == len(have.Details.Labels) {
		return have, nil, nil
	}
	if len(details.Labels) > maxLabels {
		return have, refuse(ingest.InvalidLabel, "the metric would have more than %d labels", maxLabels), nil
	}
	next := have
	next.Details = &details
	made, err := declarations.Declare(ctx, next)
	w, err := refusalOf(err)
	return made, w, err
}

// refusalOf is an error of the descriptors as why points are refused, if that
// is what it is.
func refusalOf(err error) (*why, error) {
	if err == nil {
		return nil, nil
	}
	switch fault.KindOf(err) {
	case fault.Invalid:
		return refuse(ingest.InvalidMetric, "%s", fault.ProblemOf(err).Error.Message), nil
	case fault.Exhausted:
		return &why{ingest.TooManyMetrics, "the project may have no more metrics", fault.Exhausted}, nil
	}
	return nil, &fault.Error{Op: "monitoring.CreateTimeSeries", Kind: fault.Unavailable, Err: err}
}
