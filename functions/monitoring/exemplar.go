package monitoring

import (
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest"
)

// ExemplarNotKept is the reason under which exemplars are counted that a point was
// written without: an older one of a bucket, one too many, one without a time, or
// an attachment of a type that is none of Google's.
const ExemplarNotKept = ingest.ExemplarNotKept

// exemplarsOf gives d those of the exemplars that can be kept, and returns how
// many cannot.
func exemplarsOf(d *tsdb.Distribution, all []*distributionpb.Distribution_Exemplar) (lost int) {
	list := make([]tsdb.Exemplar, 0, len(all))
	for _, x := range all {
		e := tsdb.Exemplar{Value: x.GetValue()}
		if t := x.GetTimestamp(); t != nil && t.IsValid() {
			e.Time = tsdb.Millis(t.AsTime().UnixMilli())
		}
		for _, a := range x.GetAttachments() {
			m, err := a.UnmarshalNew()
			if err != nil {
				m = nil // of a type that nobody here knows
			}
			switch m := m.(type) {
			case *monitoringpb.SpanContext:
				e.Span = m.GetSpanName()
			case *wrapperspb.StringValue:
				e.Text = m.GetValue()
			case *monitoringpb.DroppedLabels:
				e.Dropped = tsdb.LabelsOf(m.GetLabel())
			default:
				lost++
			}
		}
		list = append(list, e)
	}
	return lost + distribution.KeepExemplars(d, list)
}

// exemplarsAs are exemplars as Google has them.
func exemplarsAs(list []tsdb.Exemplar) []*distributionpb.Distribution_Exemplar {
	var out []*distributionpb.Distribution_Exemplar
	for i := range list {
		e := &list[i]
		x := &distributionpb.Distribution_Exemplar{Value: e.Value, Timestamp: timestamppb.New(time.UnixMilli(int64(e.Time)))}
		attach := func(m proto.Message) {
			a := &anypb.Any{}
			// Labels in one order, so that equal answers are the same bytes.
			if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
				panic("BUG: a message that cannot be written: " + err.Error())
			}
			x.Attachments = append(x.Attachments, a)
		}
		if e.Span != "" {
			attach(&monitoringpb.SpanContext{SpanName: e.Span})
		}
		if e.Text != "" {
			attach(&wrapperspb.StringValue{Value: e.Text})
		}
		if len(e.Dropped) > 0 {
			labels := &monitoringpb.DroppedLabels{Label: make(map[string]string, len(e.Dropped))}
			for _, l := range e.Dropped {
				labels.Label[l.Name] = l.Value
			}
			attach(labels)
		}
		out = append(out, x)
	}
	return out
}
