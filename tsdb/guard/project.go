package guard

import (
	"cmp"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/tsdb"
)

// project are the active series of a project.
type project struct {
	id string
	// generation counts what ends the passes of the project: its series or
	// bounds were looked at anew, or an epoch is over.
	generation atomic.Uint64

	// mu guards what follows.
	mu sync.Mutex
	// loaded says that the storage told what is active; asked is when it was
	// asked last.
	loaded bool
	asked  time.Time
	// epoch counts half windows, begun is when this one began. A series that
	// was not written in this epoch or the one before is not active.
	epoch uint32
	begun time.Time
	// series are those that were written, by hash.
	series map[uint64]written
	// metrics are those of the series, and numbers finds them by type.
	metrics []metric
	numbers map[string]uint32
}

// written is a series that was written.
type written struct{ metric, epoch uint32 }

// metric is a metric of a project.
type metric struct {
	name string
	// series is how many of its series are active.
	series int
}

// admit counts a series as written, or says why it must not be.
func (p *project) admit(g *Guard, s *tsdb.Series) string {
	hash := g.hash(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(g)
	if w, known := p.series[hash]; known {
		p.series[hash] = written{w.metric, p.epoch}
		return ""
	}
	if g.enforcing.Load() && p.full(g, s.Metric) {
		return CardinalityLimit
	}
	p.put(g, hash, s.Metric)
	return ""
}

// full reports whether no further series of the metric may be active.
func (p *project) full(g *Guard, name string) bool {
	if len(p.series) >= p.limit(g) || g.tracked.Load() >= int64(g.options.MaxTracked) {
		return true
	}
	if g.options.Bounds == nil {
		return false
	}
	most := g.options.Bounds.Bounds(p.id, name).MaxSeries
	number, known := p.numbers[name]
	return most > 0 && known && p.metrics[number].series >= most
}

// limit is how many series may be active.
func (p *project) limit(g *Guard) int {
	if g.options.Bounds == nil {
		return g.options.MaxSeries
	}
	return cmp.Or(g.options.Bounds.Bounds(p.id, "").MaxSeries, g.options.MaxSeries)
}

// put adds a series that is not there. One that is over Options.MaxTracked,
// because the storage has it, is not held.
func (p *project) put(g *Guard, hash uint64, name string) {
	if g.tracked.Load() >= int64(g.options.MaxTracked) {
		return
	}
	number, known := p.numbers[name]
	if !known {
		number = uint32(len(p.metrics) % math.MaxUint32)
		name = strings.Clone(name) // it may be a part of something large
		p.metrics = append(p.metrics, metric{name: name})
		p.numbers[name] = number
	}
	p.metrics[number].series++
	p.series[hash] = written{number, p.epoch}
	g.tracked.Add(1)
}

// begin asks the storage what is active if it has not told, and ends an epoch
// that is over.
func (p *project) begin(g *Guard) {
	now := g.options.Now()
	if p.series == nil {
		p.series, p.numbers, p.metrics = map[uint64]written{}, map[string]uint32{}, nil
		p.begun, p.epoch = now, p.epoch+1
	}
	if !p.loaded && now.Sub(p.asked) >= loadAgain {
		p.asked = now
		p.loaded = g.load(p.id, func(s *tsdb.Series) {
			if hash := g.hash(s); p.series[hash] == (written{}) {
				p.put(g, hash, s.Metric)
			}
		})
	}
	if now.Sub(p.begun) < g.options.Window/2 {
		return
	}
	// Series that were admitted by a pass since the epoch began are marked anew
	// by their next sample, so none that is in use is dropped: it has an epoch
	// to be.
	p.epoch++
	p.begun = now
	p.generation.Add(1)
	for hash, w := range p.series {
		if w.epoch+1 < p.epoch {
			delete(p.series, hash)
			p.metrics[w.metric].series--
			g.tracked.Add(-1)
		}
	}
}

// forget drops what is known.
func (p *project) forget(g *Guard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.tracked.Add(-int64(len(p.series)))
	p.series, p.loaded, p.asked = nil, false, time.Time{}
	p.generation.Add(1)
}

// count is how many series are active, and how many may be.
func (p *project) count(g *Guard) (active, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(g)
	return len(p.series), p.limit(g)
}
