// Package filter decides which events a trigger wants. It holds the dialects
// of the CloudEvents Subscriptions API as Knative's Trigger spells them
// (exact, prefix, suffix, all, any, not, cesql; one file each) and Knative's
// older filter.attributes map.
//
// The verdicts are those of knative.dev/eventing, with one exception that is
// the invariant of this package: it fails closed. Knative logs and skips an
// element that it cannot build, so that a mistake widens delivery; here such an
// element is refused when it is parsed, with the path of the field at fault,
// and is never a match. tests/conformance runs both side by side and lists
// every difference.
//
// A Filter is immutable: any number of goroutines may use it, it starts none,
// and there is nothing to close. Filters read context attributes only; the
// data of an event is never looked at.
package filter

import "selvedge.dev/sdk/event"

// Verdict is what a filter says of one event. Only Fail keeps the event from
// the subscriber.
type Verdict uint8

// The verdicts. The zero value drops.
const (
	// Fail means that the event is not for this trigger.
	Fail Verdict = iota
	// Pass means that the event matched.
	Pass
	// NoFilter means that there was nothing to match; the event is delivered.
	NoFilter
)

// String is the name of the constant.
func (v Verdict) String() string {
	switch v {
	case Pass:
		return "Pass"
	case NoFilter:
		return "NoFilter"
	default:
		return "Fail"
	}
}

// Filter is a parsed filter. Its one method neither changes nor keeps e, never
// panics, and may be called concurrently.
type Filter interface {
	Filter(e *event.Event) Verdict
}

// none is the filter of a trigger that has none.
type none struct{}

// Filter asks for nothing.
func (none) Filter(*event.Event) Verdict { return NoFilter }

// judge asks for nothing.
func (none) judge(*event.Head) (Verdict, bool) { return NoFilter, true }
