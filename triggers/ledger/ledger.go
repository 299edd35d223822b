// Package ledger counts what the platform dropped: nothing is lost without a
// line here that says whose it was, where, and why.
//
// A loss is identified by the stream it was lost from, its offset there and
// its reason, so that reporting it again after a crash does not count it
// twice. The newest losses are kept one by one for people to look at, the
// counts for good.
package ledger

import (
	"context"
	"time"
)

// Loss is one event that was dropped, or a part of one.
type Loss struct {
	// Project is the id of the project it belonged to.
	Project string
	// Stream is where it was lost: the trigger's name.
	Stream string
	// Offset is the event's place in the stream's journal.
	Offset uint64
	// Reason is a stable UPPER_SNAKE_CASE word.
	Reason string
	// Detail is the error's text, for people.
	Detail string
	// Count is how many items were lost: 1 for an event.
	Count int
	// Source, ID and Type are those of the event.
	Source, ID, Type string
	// Time is when it was dropped.
	Time time.Time
}

// Total is a line of the ledger.
type Total struct {
	Stream string    `json:"stream"`
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	First  time.Time `json:"firstTime"`
	Last   time.Time `json:"lastTime"`
}

// Ledger keeps losses. All methods may be called concurrently.
type Ledger interface {
	// Record adds the losses that it does not know yet; they are durable on
	// return.
	Record(ctx context.Context, losses []Loss) error
	// Totals returns the lines of a project, by stream and reason.
	Totals(ctx context.Context, project string) ([]Total, error)
	// Recent returns the newest losses of a project, newest first.
	Recent(ctx context.Context, project string, limit int) ([]Loss, error)
	// Passed tells that the stream will report no loss before offset again,
	// so that old ones need not be kept for comparison.
	Passed(ctx context.Context, stream string, offset uint64) error
}
