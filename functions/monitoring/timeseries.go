package monitoring

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/tsdb/query"
)

// listTimeSeries answers ListTimeSeries.
func (s *Service) listTimeSeries(ctx context.Context, t target, req *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	q, err := queryOf(t.project, req)
	if err != nil {
		return nil, err
	}
	page, err := s.Engine.List(ctx, q)
	if err != nil {
		return nil, err
	}
	return response(page), nil
}

// queryOf is a request as the engine takes it.
func queryOf(project string, req *monitoringpb.ListTimeSeriesRequest) (query.Request, error) {
	if req.GetOrderBy() != "" {
		return query.Request{}, invalid("orderBy", "it must be empty; points come newest first")
	}
	q := query.Request{
		Project: project, Filter: req.GetFilter(), View: req.GetView().String(),
		PageSize: int(req.GetPageSize()), PageToken: req.GetPageToken(),
	}
	var err error
	if q.Start, err = instant("interval.startTime", req.GetInterval().GetStartTime()); err != nil {
		return q, err
	}
	if q.End, err = instant("interval.endTime", req.GetInterval().GetEndTime()); err != nil {
		return q, err
	}
	if q.Aggregation, err = aggregation("aggregation", req.GetAggregation()); err != nil {
		return q, err
	}
	q.SecondaryAggregation, err = aggregation("secondaryAggregation", req.GetSecondaryAggregation())
	return q, err
}

// instant is a time of a request, the zero time if it is not there.
func instant(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, invalid(field, "%v", err)
	}
	return t.AsTime(), nil
}

// aggregation is an aggregation as the engine takes it, the zero one for nil.
func aggregation(field string, a *monitoringpb.Aggregation) (query.Aggregation, error) {
	if a == nil {
		return query.Aggregation{}, nil
	}
	if p := a.GetAlignmentPeriod(); p != nil && !p.IsValid() {
		return query.Aggregation{}, invalid(field+".alignmentPeriod", "it is no duration that can be")
	}
	out := query.Aggregation{AlignmentPeriod: a.GetAlignmentPeriod().AsDuration(), GroupByFields: a.GetGroupByFields()}
	if a.GetPerSeriesAligner() != monitoringpb.Aggregation_ALIGN_NONE {
		out.PerSeriesAligner = a.GetPerSeriesAligner().String()
	}
	if a.GetCrossSeriesReducer() != monitoringpb.Aggregation_REDUCE_NONE {
		out.CrossSeriesReducer = a.GetCrossSeriesReducer().String()
	}
	return out, nil
}

// restListTimeSeries answers projects.timeSeries.list.
func (s *Service) restListTimeSeries(w http.ResponseWriter, r *http.Request, project string) error {
	req, err := parseRequest(r, project)
	if err != nil {
		return err
	}
	page, err := s.Engine.List(r.Context(), req)
	if err != nil {
		return err
	}
	begin(w)
	// What cannot be written has no reader.
	_ = s.encoders.write(reply{w, r, s.Gather}, page)
	return nil
}

// reply is where an answer goes that may be long.
type reply struct {
	http.ResponseWriter
	request *http.Request
	gather  func(r *http.Request) (send func())
}

// whole sends all of an answer.
func (a reply) whole(text []byte) error {
	a.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if a.gather != nil {
		send := a.gather(a.request)
		defer send()
	}
	_, err := a.Write(text)
	if a.gather != nil {
		err = errors.Join(err, http.NewResponseController(a.ResponseWriter).Flush())
	}
	return err
}

// parseRequest reads the parameters of projects.timeSeries.list.
func parseRequest(r *http.Request, project string) (query.Request, error) {
	p, err := parseParams(r,
		"filter", "interval.startTime", "interval.endTime", "aggregation.alignmentPeriod", "aggregation.perSeriesAligner",
		"aggregation.crossSeriesReducer", "aggregation.groupByFields…",
		"secondaryAggregation.alignmentPeriod", "secondaryAggregation.perSeriesAligner",
		"secondaryAggregation.crossSeriesReducer", "secondaryAggregation.groupByFields…",
		"orderBy", "view", "pageSize", "pageToken", "explain")
	if err != nil {
		return query.Request{}, err
	}
	if p.text("orderBy") != "" {
		p.fail("orderBy", "it must be empty; points come newest first")
	}
	req := query.Request{
		Project:              project,
		Filter:               p.text("filter"),
		Start:                p.instant("interval.startTime"),
		End:                  p.instant("interval.endTime"),
		Aggregation:          p.aggregation("aggregation."),
		SecondaryAggregation: p.aggregation("secondaryAggregation."),
		View:                 p.enum("view", monitoringpb.ListTimeSeriesRequest_TimeSeriesView_name),
		PageSize:             p.number("pageSize"),
		PageToken:            p.text("pageToken"),
		Explain:              p.flag("explain"),
	}
	return req, p.err
}

// aggregation reads the parameters that begin with prefix.
func (p *params) aggregation(prefix string) query.Aggregation {
	return query.Aggregation{
		AlignmentPeriod:    p.duration(prefix + "alignmentPeriod"),
		PerSeriesAligner:   p.enum(prefix+"perSeriesAligner", monitoringpb.Aggregation_Aligner_name),
		CrossSeriesReducer: p.enum(prefix+"crossSeriesReducer", monitoringpb.Aggregation_Reducer_name),
		GroupByFields:      p.texts(prefix + "groupByFields"),
	}
}
