package writer

import (
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// maxPlans bounds the blueprints whose plans are kept. A project has a few; a
// thousand projects with eight each are far from it.
const maxPlans = 1 << 13

// plans keeps the compiled mappings of blueprints. It always answers for the
// blueprint as it is given: a copy with other mappings is compiled anew, one
// with the same mappings keeps its plans, and with them what the decoder has
// learned. The zero value is ready.
type plans struct {
	mu     sync.RWMutex
	byName map[string]*compiled
}

// compiled are the plans of one version of a blueprint.
type compiled struct {
	// blueprint is what a Reader returned last; it is shared and immutable.
	blueprint *devicesv1.Blueprint
	byType    map[string]*ingest.Plan
}

// of returns the plans of b by event type.
func (p *plans) of(b *devicesv1.Blueprint) (map[string]*ingest.Plan, error) {
	p.mu.RLock()
	have := p.byName[b.Name]
	p.mu.RUnlock()
	if have != nil && have.blueprint == b {
		return have.byType, nil
	}
	made := &compiled{blueprint: b}
	if have != nil && slices.EqualFunc(have.blueprint.GetMappings(), b.GetMappings(), sameMapping) {
		made.byType = have.byType
	} else {
		var err error
		if made.byType, err = compile(b.Mappings); err != nil {
			return nil, fmt.Errorf("blueprint %s: %w", b.Name, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byName) >= maxPlans {
		clear(p.byName)
	}
	if p.byName == nil {
		p.byName = map[string]*compiled{}
	}
	p.byName[b.Name] = made
	return made.byType, nil
}

// sameMapping reports whether two mappings say the same.
func sameMapping(x, y *devicesv1.Mapping) bool { return proto.Equal(x, y) }

// compile makes mappings into plans by event type.
func compile(mappings []*devicesv1.Mapping) (map[string]*ingest.Plan, error) {
	byType := make(map[string]*ingest.Plan, len(mappings))
	for _, m := range mappings {
		in := ingest.Mapping{EventType: m.EventType, TimestampField: m.TimestampField}
		for _, f := range m.Fields {
			in.Fields = append(in.Fields, ingest.Field{
				Path: f.Field, Metric: f.MetricType, Kind: tsdb.MetricKind(f.Kind), ValueType: tsdb.ValueType(f.ValueType), Unit: f.Unit, Labels: f.Labels,
			})
		}
		plan, err := ingest.Compile(in)
		if err != nil {
			return nil, err
		}
		byType[m.EventType] = plan
	}
	return byType, nil
}
