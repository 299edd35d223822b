package delivery

import (
	"math"
	"time"
)

// Backoff is how the delay between attempts grows.
type Backoff string

// The backoff policies of Knative's delivery spec.
const (
	// Exponential waits Delay, 2 Delay, 4 Delay, …
	Exponential Backoff = "exponential"
	// Linear waits 0, Delay, 2 Delay, …: the first retry is immediate, as it
	// is on Knative.
	Linear Backoff = "linear"
)

// MaxWait bounds one delay, so that a long row of failures neither overflows
// nor puts an event out of sight for days.
const MaxWait = time.Hour

// Policy is the delivery policy of a trigger. The zero value means one attempt
// within DefaultTimeout.
type Policy struct {
	// Retry is the number of attempts after the first.
	Retry int
	// Backoff defaults to Exponential.
	Backoff Backoff
	// Delay is the unit of the backoff.
	Delay time.Duration
	// Timeout bounds one attempt; DefaultTimeout when 0.
	Timeout time.Duration
}

// DefaultTimeout is the time one attempt may take when the policy says
// nothing; Knative's function middleware gives up after the same time.
const DefaultTimeout = 30 * time.Second

// Wait is the delay before retry n, counted from 0, and whether there is one.
func (p Policy) Wait(n int) (time.Duration, bool) {
	if n >= p.Retry {
		return 0, false
	}
	factor := math.Pow(2, float64(n))
	if p.Backoff == Linear {
		factor = float64(n)
	}
	if wait := factor * float64(p.Delay); wait < float64(MaxWait) {
		return time.Duration(wait), true
	}
	return MaxWait, true
}

// Attempt is the time that one attempt may take.
func (p Policy) Attempt() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return DefaultTimeout
}
