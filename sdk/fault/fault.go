// Package fault says what went wrong in terms that a caller can act on: an
// Error carries the operation, the name of the thing, a Kind and a stable
// Reason, and the one table in status.go turns a Kind into an HTTP status for
// callers and into a redelivery decision for brokers.
//
// Branch on KindOf(err), never on text. An error without a Kind is Internal:
// it is retried, and its text is not shown to users.
package fault

import (
	"context"
	"errors"
	"strings"
)

// Kind is the class of an error: what the caller should do about it.
type Kind uint8

// The kinds. The zero value is Internal, so an error that nobody classified
// is retried and hidden rather than blamed on the caller.
const (
	// Internal is a broken invariant or an unclassified error: retried.
	Internal Kind = iota
	// Invalid is a request that can never succeed as it stands.
	Invalid
	// Unauthenticated is a request without credentials that can be believed.
	Unauthenticated
	// Denied is a known principal without the permission.
	Denied
	// NotFound is a name that nothing answers to.
	NotFound
	// Exists is a creation of what is already there.
	Exists
	// Conflict is a write that lost against another; read again and retry.
	Conflict
	// Exhausted is a bound that was reached: a quota, a full queue.
	Exhausted
	// Unavailable is a dependency that does not answer now.
	Unavailable
	// TooLarge is a body or an item over its documented bound.
	TooLarge
	// Unsupported is a media type or a content mode that is not spoken here.
	Unsupported
	// Precondition is a request that the state of the system forbids, such as
	// the deletion of what others need: change that first, then repeat it.
	Precondition
)

// Error is an error as data. Op and Err are for operators; Name, Kind, Reason
// and Field are for the caller.
type Error struct {
	// Op is the operation that failed, as "package.Function": "tsdb/vm.Append".
	Op string
	// Name is the resource or thing concerned, "" when there is none.
	Name string
	// Kind is the class of the error.
	Kind Kind
	// Reason is a stable UPPER_SNAKE_CASE word for programs and loss
	// ledgers (google.rpc.ErrorInfo.reason); "" means the Kind's own word.
	Reason string
	// Field is the attribute, parameter or field at fault: "specversion".
	Field string
	// Err is the cause; its text is shown to the caller unless Kind is Internal.
	Err error
}

// Error renders the operation, the name and the cause, each once.
func (e *Error) Error() string {
	var parts []string
	for _, p := range []string{e.Op, e.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, e.Message()), ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Message is what the caller may read: the cause's text, or the kind's own
// words when there is no cause.
func (e *Error) Message() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return kinds[e.Kind].text
}

// KindOf is the Kind of the first Error in err's chain. A context that ended
// counts as Unavailable: the work was not refused, it ran out of time.
// Anything else is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// ReasonOf is the stable reason of err: the first Reason in its chain, else
// the word of its Kind.
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Reason != "" {
		return e.Reason
	}
	return KindOf(err).String()
}
