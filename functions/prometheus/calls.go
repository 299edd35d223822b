package prometheus

import (
	"context"
	"encoding/json"

	"selvedge.dev/tsdb/promql"
)

// query answers an instant query.
func (s *Service) query(ctx context.Context, p *params) ([]byte, error) {
	now := p.now()
	q := promql.Query{Project: p.project, Text: p.text("query"), Start: p.instant("time", now), Timeout: p.duration("timeout", 0)}
	if p.err != nil {
		return nil, p.err
	}
	result, err := s.Engine.Instant(ctx, q)
	if err != nil {
		return nil, err
	}
	return appendResult(nil, result, p.number("limit")), p.err
}

// queryRange answers a range query.
func (s *Service) queryRange(ctx context.Context, p *params) ([]byte, error) {
	q := promql.Query{
		Project: p.project, Text: p.text("query"), Start: p.instant("start", missing), End: p.instant("end", missing),
		Step: p.duration("step", missing), Timeout: p.duration("timeout", 0),
	}
	if p.err != nil {
		return nil, p.err
	}
	result, err := s.Engine.Range(ctx, q)
	if err != nil {
		return nil, err
	}
	return appendResult(nil, result, p.number("limit")), p.err
}

// series answers with the labels of series.
func (s *Service) series(ctx context.Context, p *params) ([]byte, error) {
	b := p.browse()
	if p.err == nil && len(b.Match) == 0 {
		return nil, invalid("match[]", "no match[] parameter provided")
	}
	if p.err != nil {
		return nil, p.err
	}
	all, err := s.Engine.Series(ctx, b)
	if err != nil {
		return nil, err
	}
	data := []byte{'['}
	for i, ls := range all {
		if i > 0 {
			data = append(data, ',')
		}
		data = appendLabels(data, ls)
	}
	return append(data, ']'), nil
}

// labels answers with the names of labels.
func (s *Service) labels(ctx context.Context, p *params) ([]byte, error) {
	b := p.browse()
	if p.err != nil {
		return nil, p.err
	}
	names, err := s.Engine.LabelNames(ctx, b)
	if err != nil {
		return nil, err
	}
	return list(names), nil
}

// labelValues answers with the values of a label.
func (s *Service) labelValues(ctx context.Context, p *params) ([]byte, error) {
	b, name := p.browse(), p.path("name")
	if p.err != nil {
		return nil, p.err
	}
	values, err := s.Engine.LabelValues(ctx, b, name)
	if err != nil {
		return nil, err
	}
	return list(values), nil
}

// described is what Prometheus says of a metric.
type described struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// metadata answers with what is known of metrics.
func (s *Service) metadata(ctx context.Context, p *params) ([]byte, error) {
	limit := p.number("limit")
	if p.err != nil {
		return nil, p.err
	}
	all, err := s.Engine.Metadata(ctx, p.project, p.text("metric"))
	if err != nil {
		return nil, err
	}
	made := map[string][]described{}
	for i, m := range all {
		if limit > 0 && i >= limit {
			break
		}
		made[m.Metric] = []described{{m.Type, m.Help, m.Unit}}
	}
	return json.Marshal(made)
}

// list is a JSON array of texts, [] for none.
func list(texts []string) []byte {
	data := []byte{'['}
	for i, t := range texts {
		if i > 0 {
			data = append(data, ',')
		}
		data = appendText(data, t)
	}
	return append(data, ']')
}
