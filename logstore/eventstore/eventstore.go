// Package eventstore holds the nouns of the records engine, as far as there are
// records: events that are kept to be read back, such as alerts. The one
// interface for storing them is here; sqlstore is its embedded implementation,
// and eventstoretest is what every implementation must pass.
//
// It is not for telemetry, whose numbers are in tsdb, and it does not search
// inside the data of events.
package eventstore

import (
	"context"
	"time"

	"selvedge.dev/sdk/event"
)

// Record is an event that is kept for a project.
type Record struct {
	// Project is the project's id.
	Project string
	Event   event.Event
}

// Query selects events of one project. A zero field selects all.
type Query struct {
	// Project is the id of the project; it must not be "".
	Project string
	// Type, Source and Subject are compared as a whole.
	Type, Source, Subject string
	// From and To bound the events' times: From is in, To is not.
	From, To time.Time
	// PageSize is the most events to return: DefaultPageSize if it is 0, and
	// never more than MaxPageSize.
	PageSize int
	// PageToken is Page.NextPageToken of the page before, which must have
	// had the same selection.
	PageToken string
}

// The bounds of Query.PageSize. A page of a thousand alerts is half a megabyte.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
)

// Page is a part of the events that a Query selects.
type Page struct {
	// Events are sorted by time, the newest first; those of one time by when
	// they were appended, the last first.
	Events []event.Event
	// NextPageToken continues where the page ends; "" after the last one.
	// Following it gives every event once that was there when the first page
	// was read, unless it was evicted; events that are appended meanwhile may
	// come or not.
	NextPageToken string
}

// Appended is what became of the records of an Append.
type Appended struct {
	// Stored are new, Duplicates were there before or twice among the
	// records.
	Stored, Duplicates int
	// Evicted is how many of the oldest events were deleted to stay within
	// the store's bound on the events of a project; they are lost.
	Evicted int
}

// Store keeps records. All methods may be called concurrently.
type Store interface {
	// Append keeps all records, durably on return, or none. A record whose
	// project, source and id are those of one that is kept is a duplicate and
	// changes nothing. An event without a time happened when it is appended.
	// A record without a project, or with an event that is no CloudEvent, is
	// an Invalid error.
	Append(ctx context.Context, records []Record) (Appended, error)
	// List returns a page of events. A page token that is not one, or is of
	// another selection, is an Invalid error with Field "pageToken".
	List(ctx context.Context, q Query) (Page, error)
	// Close releases the store.
	Close() error
}
