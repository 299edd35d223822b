package vm

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"

	"selvedge.dev/tsdb"
)

const (
	// remoteRows is how many samples one request carries: a few hundred
	// kilobytes before compression, of the 32 MiB that a server takes.
	remoteRows = 8192
	// remoteLabels, remoteNameBytes and remoteValueBytes are the defaults of a
	// server's limits: a series over them is ignored. The metric's name counts
	// as a label.
	remoteLabels = 40
	// remoteNameBytes bounds the name of a label.
	remoteNameBytes = 256
	// remoteValueBytes bounds its value.
	remoteValueBytes = 4 << 10
)

// remoteNameable reports whether a server keeps s under its identity.
func remoteNameable(s *tsdb.Series) bool {
	own := 3
	if s.ValueType == tsdb.Distributed {
		own++ // the label of parts
	}
	if !nameable(s) || len(s.ResourceLabels)+len(s.MetricLabels)+own > remoteLabels {
		return false
	}
	for _, text := range [...]string{s.Project, s.Metric, s.Resource} {
		if len(text) >= remoteValueBytes {
			return false
		}
	}
	for _, labels := range [...]tsdb.Labels{s.ResourceLabels, s.MetricLabels} {
		for i := range labels {
			if len(resourcePrefix)+len(labels[i].Name) > remoteNameBytes || len(labels[i].Value) >= remoteValueBytes {
				return false
			}
		}
	}
	return true
}

// Check returns the reason for which Append would refuse the sample, or "".
func (r *Remote) Check(sample tsdb.Sample) string {
	if !remoteNameable(sample.Series) {
		return InvalidSeries
	}
	return cmp.Or(r.options.check(sample), partsVerdict(&sample, remoteValueBytes))
}

// Append implements tsdb.Store. A batch with a sample that Check refuses is
// refused as a whole, with the reason (times get an hour of grace). When the
// server fails, some of the batch may be there, and all may be appended again.
func (r *Remote) Append(ctx context.Context, samples []tsdb.Sample) error {
	const op = "tsdb/vm.Remote.Append"
	if err := r.useToWrite(op); err != nil {
		return err
	}
	defer r.users.Done()
	parts, err := r.options.checkAll(op, samples, remoteNameable, remoteValueBytes)
	if err != nil {
		return err
	}
	var m months
	for len(samples) > 0 {
		n := m.whole(samples[:min(len(samples), remoteRows)])
		encode := requestOf
		if parts {
			n, encode = partsWithin(samples[:n], remoteRows), requestOfParts
		}
		if err := r.send(ctx, encode(samples[:n])); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		samples = samples[n:]
	}
	return nil
}

// requestOf is the request that writes samples.
func requestOf(samples []tsdb.Sample) prompb.WriteRequest {
	request := prompb.WriteRequest{}
	var last *tsdb.Series
	points := make([]prompb.Sample, 0, len(samples))
	for i := range samples {
		points = append(points, prompb.Sample{Value: samples[i].Value, Timestamp: int64(samples[i].Time)})
		if samples[i].Series != last {
			last = samples[i].Series
			request.Timeseries = append(request.Timeseries, prompb.TimeSeries{Labels: labelsOf(last), Samples: points[i:i]})
		}
		ts := &request.Timeseries[len(request.Timeseries)-1]
		ts.Samples = ts.Samples[:len(ts.Samples)+1]
	}
	return request
}

// send sends a request. A batch counts as added also when it failed, since the
// server may have it.
func (r *Remote) send(ctx context.Context, samples prompb.WriteRequest) error {
	body := encoding.CompressZSTDLevel(nil, samples.MarshalProtobuf(nil), 1)
	r.adding.RLock()
	defer r.adding.RUnlock()
	defer r.added.Add(1)
	_, err := r.call(ctx, request{method: http.MethodPost, at: r.write, path: "/api/v1/write", body: body})
	return err
}

// labelsOf is the identity of s as labels; see appendName.
func labelsOf(s *tsdb.Series) []prompb.Label {
	labels := make([]prompb.Label, 0, 3+len(s.ResourceLabels)+len(s.MetricLabels))
	add := func(name, value string) {
		labels = append(labels, prompb.Label{Name: name, Value: escapeOf(value) + value})
	}
	labels = append(labels, prompb.Label{Name: "__name__", Value: s.Metric})
	add(projectLabel, s.Project)
	if s.Resource != "" {
		add(resourceLabel, s.Resource)
	}
	for _, l := range s.ResourceLabels {
		add(resourcePrefix+l.Name, l.Value)
	}
	for _, l := range s.MetricLabels {
		add(metricPrefix+l.Name, l.Value)
	}
	return labels
}
