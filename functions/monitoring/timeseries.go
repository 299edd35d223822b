package monitoring

import (
	"net/http"

	"selvedge.dev/tsdb/query"
)

// listTimeSeries answers projects.timeSeries.list.
func (s *Service) listTimeSeries(w http.ResponseWriter, r *http.Request, project string) error {
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
	_ = writePage(w, page)
	return nil
}

// parseRequest reads the parameters of projects.timeSeries.list.
func parseRequest(r *http.Request, project string) (query.Request, error) {
	p, err := parseParams(r,
		"filter", "interval.startTime", "interval.endTime", "aggregation.alignmentPeriod", "aggregation.perSeriesAligner",
		"aggregation.crossSeriesReducer", "aggregation.groupByFields…", "orderBy", "view", "pageSize", "pageToken")
	if err != nil {
		return query.Request{}, err
	}
	if p.text("orderBy") != "" {
		p.fail("orderBy", "it must be empty; points come newest first")
	}
	req := query.Request{
		Project: project,
		Filter:  p.text("filter"),
		Start:   p.instant("interval.startTime"),
		End:     p.instant("interval.endTime"),
		Aggregation: query.Aggregation{
			AlignmentPeriod:    p.duration("aggregation.alignmentPeriod"),
			PerSeriesAligner:   p.text("aggregation.perSeriesAligner"),
			CrossSeriesReducer: p.text("aggregation.crossSeriesReducer"),
			GroupByFields:      p.texts("aggregation.groupByFields"),
		},
		View:      p.text("view"),
		PageSize:  p.number("pageSize"),
		PageToken: p.text("pageToken"),
	}
	return req, p.err
}
