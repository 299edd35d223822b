package wire

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// Monitored-resource types and their labels, by Google's names.
const (
	resourceDevice     = "device"
	resourcePrometheus = "prometheus_target"
	resourceNode       = "generic_node"
	labelProject       = "project_id"
	labelDevice        = "device_id"
)

// The labels that name a resource on the wire.
const (
	wireDevice   = "device"
	wireJob      = "job"
	wireInstance = "instance"
)

// maxKey bounds the labels of a series as they are written, in bytes: somewhat
// more than the storage takes.
const maxKey = 32 << 10

// project is what is remembered of one project.
type project struct {
	id string

	// mu guards everything below; run holds it shared.
	mu sync.RWMutex
	// series finds known series by format and key.
	series [formats]map[string]*known
	// count is how many there are, begun when counting began.
	count int
	begun tsdb.Millis
	// deletions is how many descriptors had been deleted when it was made.
	deletions uint64
	// kinds are the kinds of metric families that remote write 1 stated.
	kinds map[string]family
}

// known is what is remembered of a key: the series, or for a key of Influx,
// which has no field in it, those of its fields.
type known struct {
	series *tsdb.Series
	fields []knownField
}

// knownField is a field of an Influx key.
type knownField struct {
	name   string
	series *tsdb.Series
}

// declaration is what a body says about a series.
type declaration struct {
	metric string
	// labels need not be sorted; the ones that name a resource are among them.
	labels tsdb.Labels
	// kind and unit are those of a new descriptor. If must is true, they are
	// to be the descriptor's unless they are "".
	kind tsdb.MetricKind
	unit string
	must bool
	// valueType is that of a new descriptor.
	valueType tsdb.ValueType
}

// projectOf is what is remembered of the project, begun anew when its window
// is over.
func (d *Decoder) projectOf(id string, now tsdb.Millis) *project {
	deletions := uint64(0)
	if c, ok := d.descriptors.(ingest.Deleter); ok {
		deletions = c.Deletions(id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.remembered > d.options.MaxRemembered {
		clear(d.projects)
		d.remembered = 0
	}
	p := d.projects[id]
	if p != nil && (p.deletions != deletions || now-p.begun > tsdb.Millis(d.options.Window/time.Millisecond)) {
		p.mu.RLock()
		d.remembered -= p.count
		p.mu.RUnlock()
		p = nil
	}
	if p == nil {
		p = &project{id: strings.Clone(id), begun: now, deletions: deletions, kinds: map[string]family{}}
		for i := range p.series {
			p.series[i] = map[string]*known{}
		}
		d.projects[p.id] = p
	}
	return p
}

// learn makes the series that dec declares and remembers it under the key. A
// reason says why there can be none. The key is not kept.
func (r *run) learn(ctx context.Context, key []byte, dec declaration) (*tsdb.Series, string, error) {
	s, reason, err := r.declare(ctx, key, dec)
	if err != nil || reason != "" {
		return nil, reason, err
	}
	r.remember(func(p *project) bool {
		if p.series[r.request.Format][string(key)] != nil {
			return false
		}
		p.series[r.request.Format][string(key)] = &known{series: s}
		return true
	})
	return s, "", nil
}

// remember calls add with the project's lock held exclusively, and counts a
// series if it says so. The run's own share of the lock is given up meanwhile.
func (r *run) remember(add func(*project) bool) {
	p := r.project
	p.mu.RUnlock()
	defer p.mu.RLock()
	p.mu.Lock()
	added := add(p)
	if added {
		p.count++
	}
	p.mu.Unlock()
	if added {
		r.mu.Lock()
		if r.projects[p.id] == p {
			r.remembered++
		}
		r.mu.Unlock()
	}
}

// declare makes the series of dec, or says why there can be none. The run's
// share of the project's lock is given up while the descriptors are asked.
func (r *run) declare(ctx context.Context, key []byte, dec declaration) (*tsdb.Series, string, error) {
	if len(key) > maxKey {
		return nil, ingest.InvalidLabel, nil
	}
	s := &tsdb.Series{Project: r.project.id, Metric: dec.metric}
	if reason := identify(s, dec.labels); reason != "" {
		return nil, reason, nil
	}
	r.project.mu.RUnlock()
	have, err := r.descriptors.Ensure(ctx, tsdb.Descriptor{
		Project: s.Project, Type: s.Metric, Kind: cmp.Or(dec.kind, tsdb.Gauge), ValueType: dec.valueType, Unit: dec.unit,
	})
	r.project.mu.RLock()
	switch kind := fault.KindOf(err); {
	case err == nil:
	case kind == fault.Exhausted:
		return nil, ingest.TooManyMetrics, nil
	case kind == fault.Invalid:
		return nil, ingest.InvalidMetric, nil
	default:
		return nil, "", &fault.Error{Op: opDecode, Kind: fault.Unavailable, Err: fmt.Errorf("describe %s: %w", s.Metric, err)}
	}
	switch {
	case dec.must && dec.kind != "" && dec.kind != have.Kind:
		return nil, ingest.KindConflict, nil
	case dec.must && dec.unit != "" && have.Unit != "" && dec.unit != have.Unit:
		return nil, ingest.UnitConflict, nil
	}
	s.Metric, s.Kind, s.ValueType, s.Unit = have.Type, have.Kind, have.ValueType, have.Unit
	return s, "", nil
}

// identify completes the identity of s by labels: those that name a resource
// become the resource's, the others the metric's. It returns the reason why
// there can be no such series, or "". The labels' text is copied.
func identify(s *tsdb.Series, labels tsdb.Labels) string {
	if !ingest.ValidMetric(s.Metric) {
		return ingest.InvalidMetric
	}
	labels = slices.DeleteFunc(labels, func(l tsdb.Label) bool { return l.Value == "" })
	slices.SortFunc(labels, func(a, b tsdb.Label) int { return strings.Compare(a.Name, b.Name) })
	for i, l := range labels {
		if i > 0 && l.Name == labels[i-1].Name || !ingest.ValidLabel(l) {
			return ingest.InvalidLabel
		}
	}
	if len(labels) > ingest.MaxLabels {
		return TooManyLabels
	}
	_, device := labels.Get(wireDevice)
	_, job := labels.Get(wireJob)
	_, instance := labels.Get(wireInstance)
	switch {
	case device:
		s.Resource = resourceDevice
	case job || instance:
		s.Resource = resourcePrometheus
	default:
		s.Resource = resourceNode
	}
	for _, l := range labels {
		l = tsdb.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)}
		switch {
		case device && l.Name == wireDevice:
			s.ResourceLabels = append(s.ResourceLabels, tsdb.Label{Name: labelDevice, Value: l.Value})
		case s.Resource == resourcePrometheus && (l.Name == wireJob || l.Name == wireInstance):
			s.ResourceLabels = append(s.ResourceLabels, l)
		default:
			s.MetricLabels = append(s.MetricLabels, l)
		}
	}
	// The names before it in the alphabet stand before it.
	s.ResourceLabels = append(s.ResourceLabels, tsdb.Label{Name: labelProject, Value: s.Project})
	return ""
}

// fits reports whether a number can be a value of a metric of type t.
func fits(v float64, t tsdb.ValueType) bool {
	switch t {
	case tsdb.Bool, tsdb.Distributed:
		return false
	case tsdb.Int64:
		return v == math.Trunc(v) && math.Abs(v) <= 1<<63
	}
	return true
}
