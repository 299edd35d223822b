package monitoring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// PartlyWritten is the reason of the answer to a request of which some points
// were refused: the others are written.
const PartlyWritten = "PARTLY_WRITTEN"

// maxVerdicts bounds the points that an error tells of one by one: over gRPC it
// travels in a header.
const maxVerdicts = 20

// refusal is the error of a request with refused points.
type refusal struct {
	*detailed
	losses []function.Loss
}

// Unwrap is what there is to tell.
func (r *refusal) Unwrap() error { return r.detailed }

// verdict is the error that tells which points were refused: a
// CreateTimeSeriesSummary counts them by status, and a CreateTimeSeriesError
// tells each of the first ones.
func (in *intake) verdict(op string) error {
	summary := &monitoringpb.CreateTimeSeriesSummary{
		TotalPointCount: int32(in.points), SuccessPointCount: int32(in.points - len(in.refused)),
	}
	var losses []function.Loss
	details := []proto.Message{summary}
	var texts []string
	for i, p := range in.refused {
		at := slices.IndexFunc(losses, func(l function.Loss) bool { return l.Reason == p.reason })
		if at < 0 {
			at = len(losses)
			losses = append(losses, function.Loss{Reason: p.reason})
			summary.Errors = append(summary.Errors, &monitoringpb.CreateTimeSeriesSummary_Error{Status: p.status("")})
		}
		losses[at].Count++
		summary.Errors[at].PointCount++
		if i < maxVerdicts {
			where := fmt.Sprintf("timeSeries[%d].points[%d]", p.series, p.point)
			texts = append(texts, where+": "+p.text)
			//lint:ignore SA1019 no other field says why one point was refused
			details = append(details, &monitoringpb.CreateTimeSeriesError{Status: p.status(where)})
		}
	}
	if more := len(in.refused) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	kind := in.refused[0].kind
	if slices.ContainsFunc(in.refused, func(p refusedPoint) bool { return p.kind != kind }) {
		kind = fault.Invalid
	}
	const shown = 3 // in words; the details have more
	text := strings.Join(texts[:min(len(texts), shown)], "; ")
	if len(texts) > shown {
		text += "; …"
	}
	return &refusal{losses: losses, detailed: &detailed{
		fault: &fault.Error{
			Op: op, Kind: kind, Reason: cmp.Or(in.reason(losses), PartlyWritten), Field: "timeSeries",
			Err: errors.New("one or more points could not be written: " + text),
		},
		details: details,
	}}
}

// reason is the reason of a request of which nothing was written for one
// reason, else "".
func (in *intake) reason(losses []function.Loss) string {
	if len(in.samples) == 0 && len(losses) == 1 {
		return losses[0].Reason
	}
	return ""
}

// status is why a point was refused, as Google says it.
func (p refusedPoint) status(where string) *statuspb.Status {
	info := &errdetails.ErrorInfo{Reason: p.reason, Domain: fault.Domain}
	if where != "" {
		info.Metadata = map[string]string{"field": where}
	}
	packed, err := anypb.New(info)
	if err != nil { // the type is linked
		panic("BUG: monitoring: " + err.Error())
	}
	text := p.text
	if where != "" {
		text = where + ": " + text
	}
	return &statuspb.Status{Code: int32(p.kind.Code()), Message: text, Details: []*anypb.Any{packed}}
}
