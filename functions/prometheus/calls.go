package prometheus

import (
	"context"
	"encoding/json"

	"selvedge.dev/tsdb/promql"
)

// query answers an instant query.
func (s *Service) query(ctx context.Context, p *params) (reply, error) {
	now := p.now()
	q := promql.Query{Project: p.project, Text: p.text("query"), Start: p.instant("time", now), Timeout: p.duration("timeout", 0)}
	limit := p.number("limit")
	if p.err != nil {
		return reply{}, p.err
	}
	result, err := s.Engine.Instant(ctx, q)
	if err != nil {
		return reply{}, err
	}
	return replyOf(result, limit), nil
}

// queryRange answers a range query.
func (s *Service) queryRange(ctx context.Context, p *params) (reply, error) {
	q := promql.Query{
		Project: p.project, Text: p.text("query"), Start: p.instant("start", missing), End: p.instant("end", missing),
		Step: p.duration("step", missing), Timeout: p.duration("timeout", 0),
	}
	limit := p.number("limit")
	if p.err != nil {
		return reply{}, p.err
	}
	result, err := s.Engine.Range(ctx, q)
	if err != nil {
		return reply{}, err
	}
	return replyOf(result, limit), nil
}

// series answers with the labels of series.
func (s *Service) series(ctx context.Context, p *params) (reply, error) {
	b := p.browse()
	if p.err == nil && len(b.Match) == 0 {
		return reply{}, invalid("", "no match[] parameter provided")
	}
	if p.err != nil {
		return reply{}, p.err
	}
	all, err := s.Engine.Series(ctx, b)
	if err != nil {
		return reply{}, err
	}
	all, warnings := truncated(all, b.Limit)
	data := []byte{'['}
	for i, ls := range all {
		if i > 0 {
			data = append(data, ',')
		}
		data = appendLabels(data, ls)
	}
	return reply{data: append(data, ']'), warnings: warnings}, nil
}

// labels answers with the names of labels.
func (s *Service) labels(ctx context.Context, p *params) (reply, error) {
	b := p.browse()
	if p.err != nil {
		return reply{}, p.err
	}
	names, err := s.Engine.LabelNames(ctx, b)
	if err != nil {
		return reply{}, err
	}
	return list(truncated(names, b.Limit)), nil
}

// labelValues answers with the values of a label.
func (s *Service) labelValues(ctx context.Context, p *params) (reply, error) {
	b, name := p.browse(), p.path("name")
	if p.err != nil {
		return reply{}, p.err
	}
	values, err := s.Engine.LabelValues(ctx, b, name)
	if err != nil {
		return reply{}, err
	}
	return list(truncated(values, b.Limit)), nil
}

// described is what Prometheus says of a metric.
type described struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// metadata answers with what is known of metrics.
func (s *Service) metadata(ctx context.Context, p *params) (reply, error) {
	limit := p.number("limit")
	if p.err != nil {
		return reply{}, p.err
	}
	all, err := s.Engine.Metadata(ctx, p.project, p.text("metric"))
	if err != nil {
		return reply{}, err
	}
	made := map[string][]described{}
	for i, m := range all {
		if limit > 0 && i >= limit {
			break
		}
		made[m.Metric] = []described{{m.Type, m.Help, m.Unit}}
	}
	data, err := json.Marshal(made)
	return reply{data: data}, err
}

// truncated are the first of all, and a warning if there are more.
func truncated[T any](all []T, limit int) (first []T, warnings []string) {
	if limit > 0 && len(all) > limit {
		return all[:limit], []string{"results truncated due to limit"}
	}
	return all, nil
}

// list is a JSON array of texts, [] for none.
func list(texts []string, warnings []string) reply {
	data := []byte{'['}
	for i, t := range texts {
		if i > 0 {
			data = append(data, ',')
		}
		data = appendText(data, t)
	}
	return reply{data: append(data, ']'), warnings: warnings}
}

// replyOf is the reply of a query, of which limit series are enough, all for 0.
func replyOf(r promql.Result, limit int) reply {
	made := reply{result: &r, warnings: r.Warnings, infos: r.Infos}
	var cut []string
	r.Series, cut = truncated(r.Series, limit)
	made.warnings = append(made.warnings, cut...)
	return made
}
