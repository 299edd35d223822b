package pool

import (
	"slices"
	"time"

	"selvedge.dev/local/cluster/serving/scale"
)

// meter integrates how many requests there are over time.
type meter struct {
	last time.Time
	// area is requests times seconds since taken, total the time since then.
	area     float64
	taken    time.Time
	requests int64
}

// measure adds the time since the last change of how many requests there are.
// The caller holds the lock and changes the number afterwards.
func (p *Pool) measure() {
	now := p.o.Now()
	if d := now.Sub(p.meter.last); d > 0 {
		p.meter.area += float64(len(p.held)+p.inHand()) * d.Seconds()
		p.meter.last = now
	}
}

// Sample is what there was to do since the last call.
func (p *Pool) Sample() scale.Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure()
	now := p.meter.last
	if p.meter.taken.IsZero() {
		p.meter.taken = now
		p.meter.area, p.meter.requests = 0, p.stats.Requests
		return scale.Sample{}
	}
	s := scale.Sample{For: now.Sub(p.meter.taken), Requests: p.stats.Requests - p.meter.requests}
	if s.For > 0 {
		s.Concurrency = p.meter.area / s.For.Seconds()
	}
	p.meter.area, p.meter.taken, p.meter.requests = 0, now, p.stats.Requests
	return s
}

// Stats are the figures of a pool since it was made.
type Stats struct {
	// Requests came; Refused were answered without an instance; Held wait now,
	// and InFlight are with an instance.
	Requests int64 `json:"requests"`
	Refused  int64 `json:"refused"`
	Held     int   `json:"held"`
	InFlight int   `json:"inFlight"`
	// Started are instances, Restarts those of their processes, Crowded the
	// instances that there was no room for.
	Started  int64 `json:"started"`
	Restarts int64 `json:"restarts"`
	Crowded  int64 `json:"crowded"`
	// Instances are those that there are, Ready those that take requests.
	Instances int `json:"instances"`
	Ready     int `json:"ready"`
	// ColdStarts are requests that waited for an instance while there was none;
	// the percentiles are of the last of them.
	ColdStarts int64         `json:"coldStarts"`
	ColdP50    time.Duration `json:"coldP50"`
	ColdP99    time.Duration `json:"coldP99"`
	// LogLinesLost are lines that the logs of the instances have no room for any
	// more.
	LogLinesLost int64 `json:"logLinesLost"`
	cold         ring
}

// ring are the last durations of something.
type ring struct {
	last []time.Duration
	next int
}

// ringSize is how many are kept: enough for a 99th percentile.
const ringSize = 512

// add keeps d.
func (r *ring) add(d time.Duration) {
	if len(r.last) < ringSize {
		r.last = append(r.last, d)
		return
	}
	r.last[r.next] = d
	r.next = (r.next + 1) % ringSize
}

// percentile is the duration that q of 100 are not above.
func (r *ring) percentile(q int) time.Duration {
	if len(r.last) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.last))
	return sorted[(len(sorted)-1)*q/100]
}

// Stats are the figures now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Held, s.InFlight = len(p.held), p.inHand()
	for _, i := range p.instances {
		s.Instances++
		if i.phase == Ready && !i.draining {
			s.Ready++
		}
		s.LogLinesLost += i.log.Lost()
	}
	s.ColdP50, s.ColdP99 = s.cold.percentile(50), s.cold.percentile(99)
	s.cold = ring{}
	return s
}
