// Package scale decides how many instances a revision should have, as Knative's
// pod autoscaler does: from the requests that were in flight, or came, over a
// stable window, and over a shorter one in which a burst makes it panic. It is
// arithmetic over samples with the time passed in: it starts nothing, has no
// clock, and a Decider is used by one goroutine.
package scale

import (
	"math"
	"time"
)

// Sample is what a revision had to do for a while.
type Sample struct {
	// For is how long the while was.
	For time.Duration
	// Concurrency is how many requests were there on average, held ones
	// included.
	Concurrency float64
	// Requests is how many requests came.
	Requests int64
}

// record is a sample with the time of its end.
type record struct {
	at time.Time
	Sample
}

// Decider decides about one revision.
type Decider struct {
	s Settings
	// samples are those of the stable window, the oldest first.
	samples []record
	// panicUntil is when the panic ends; zero in peace.
	panicUntil time.Time
	panicMax   int
	// wanted are the past decisions within the scale-down delay.
	wanted []decision
	// zeroSince is since when nothing is wanted, activeSince since when there is
	// an instance.
	zeroSince, activeSince time.Time
}

// decision is how many instances were wanted at a time.
type decision struct {
	at time.Time
	n  int
}

// New is a decider without a past.
func New(s Settings) *Decider { return &Decider{s: s} }

// Settings are those of the decider.
func (d *Decider) Settings() Settings { return d.s }

// Record adds the sample of the time that ends now.
func (d *Decider) Record(now time.Time, s Sample) {
	if s.For <= 0 {
		return
	}
	d.samples = append(d.samples, record{now, s})
	old := 0
	for old < len(d.samples) && now.Sub(d.samples[old].at) >= d.s.Window {
		old++
	}
	d.samples = append(d.samples[:0], d.samples[old:]...)
}

// average is the metric over the last while.
func (d *Decider) average(now time.Time, window time.Duration) float64 {
	var total time.Duration
	sum := 0.0
	for _, s := range d.samples {
		if now.Sub(s.at) >= window {
			continue
		}
		total += s.For
		if d.s.Metric == RPS {
			sum += float64(s.Requests)
		} else {
			sum += s.Concurrency * s.For.Seconds()
		}
	}
	if total <= 0 {
		return 0
	}
	return sum / total.Seconds()
}

// Fleet is what there is of a revision.
type Fleet struct {
	// Ready is how many instances take requests.
	Ready int
	// Reachable is whether a route leads to the revision. One that no route
	// leads to has no minimum and goes down at once.
	Reachable bool
}

// Decide is how many instances there should be.
func (d *Decider) Decide(now time.Time, f Fleet) int {
	if f.Ready == 0 {
		d.activeSince = time.Time{}
	} else if d.activeSince.IsZero() {
		d.activeSince = now
	}
	stable := d.average(now, d.s.Window)
	panicking := d.average(now, time.Duration(float64(d.s.Window)*d.s.PanicWindow/100))
	ready := math.Max(1, float64(f.Ready))
	up, down := math.Ceil(d.s.UpRate*ready), 0.0
	if f.Reachable {
		down = math.Floor(ready / d.s.DownRate)
	}
	byStable, byPanic := math.Ceil(stable/d.s.perInstance()), math.Ceil(panicking/d.s.perInstance())
	n := d.bounded(byStable, down, up)
	n = d.panic(now, n, d.bounded(byPanic, down, up), byPanic/ready >= d.s.PanicThreshold/100)
	if f.Reachable {
		n = d.delayed(now, n)
		n = max(n, d.s.Min)
	}
	if d.s.Max > 0 {
		n = min(n, d.s.Max)
	}
	return d.lingering(now, n, f)
}

// bounded is how many instances a metric asks for, within the rates of growing
// and shrinking.
func (d *Decider) bounded(want, down, up float64) int {
	n := int(math.Min(math.Max(want, down), up))
	if want > 0 {
		n = max(n, d.s.Activation)
	}
	return n
}

// panic is n, or while a burst lasts the most that was wanted during it.
func (d *Decider) panic(now time.Time, n, burst int, over bool) int {
	if over {
		d.panicUntil = now.Add(d.s.Window)
	}
	if !now.Before(d.panicUntil) {
		d.panicMax = 0
		return n
	}
	d.panicMax = max(d.panicMax, n, burst)
	return d.panicMax
}

// Panicking reports whether a burst lasts.
func (d *Decider) Panicking(now time.Time) bool { return now.Before(d.panicUntil) }

// delayed is the most that was wanted within the scale-down delay.
func (d *Decider) delayed(now time.Time, n int) int {
	if d.s.ScaleDownDelay <= 0 {
		return n
	}
	kept := d.wanted[:0]
	for _, w := range d.wanted {
		if now.Sub(w.at) < d.s.ScaleDownDelay {
			kept = append(kept, w)
		}
	}
	d.wanted = append(kept, decision{now, n})
	for _, w := range d.wanted {
		n = max(n, w.n)
	}
	return n
}

// lingering keeps the last instance until there was one for a whole stable
// window, and for the grace period and the retention after it was last wanted.
func (d *Decider) lingering(now time.Time, n int, f Fleet) int {
	if n > 0 {
		d.zeroSince = time.Time{}
		return n
	}
	if d.zeroSince.IsZero() {
		d.zeroSince = now
	}
	young := now.Sub(d.activeSince) < d.s.Window
	if f.Reachable && f.Ready > 0 && (young || now.Sub(d.zeroSince) < d.s.Grace+d.s.Retention) {
		return 1
	}
	return 0
}
