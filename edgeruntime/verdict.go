package edgeruntime

import (
	"errors"
	"regexp"

	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/fault"
)

// verdict is the word on one event of a batch: the platform's, or that of
// Ingress.
type verdict ingestv1.Verdict

// rejection is the verdict on an event that will not be sent again because of
// err.
func rejection(err error) verdict {
	st := fault.ProblemOf(err).Error
	return verdict{Status: ingestv1.StatusRejected, Error: &st}
}

// final reports whether the event is settled. One that was rejected because
// the platform is full or not ready for it could still succeed.
func (v verdict) final() bool {
	switch v.Status {
	case ingestv1.StatusAccepted, ingestv1.StatusDuplicate:
		return true
	case ingestv1.StatusRejected:
		k := v.kind()
		return k != fault.Exhausted && k != fault.Unavailable
	}
	return false
}

// kind is why the event was rejected. A rejection without a reason is one for
// good.
func (v verdict) kind() fault.Kind {
	if v.Error == nil {
		return fault.Invalid
	}
	return fault.OfStatus(v.Error.Code)
}

// word is what a reason looks like.
var word = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// reason is the stable word for why the event was rejected: that of the
// answer, or of its kind. Anything else would become the name of a series.
func (v verdict) reason() string {
	if v.Error != nil {
		for _, d := range v.Error.Details {
			if word.MatchString(d.Reason) {
				return d.Reason
			}
		}
	}
	return v.kind().String()
}

// fault is why the event is not delivered.
func (v verdict) fault() error {
	f := &fault.Error{Op: "edgeruntime.settle", Name: v.ID, Kind: v.kind(), Reason: v.reason()}
	switch {
	case v.Status != ingestv1.StatusRejected:
		f.Kind, f.Err = fault.Unavailable, errors.New("the answer has no verdict on every event")
	case v.Error != nil && v.Error.Message != "":
		f.Err = errors.New(v.Error.Message)
	}
	return f
}
