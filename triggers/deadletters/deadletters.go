// Package deadletters keeps the events that a trigger gave up and that no dead
// letter sink took, with why, so that people can look at them and have them
// delivered again.
//
// A store is bounded in bytes and age, for each project by itself: the oldest
// letters of the trigger that has most go first, and are counted. A letter is identified by its trigger and
// the place of the event in the broker's journal, so that keeping it again
// after a crash does not double it.
package deadletters

import (
	"context"
	"time"

	"selvedge.dev/sdk/event"
)

// Letter is an event that was given up.
type Letter struct {
	// ID identifies the letter in its store, which gives it.
	ID int64
	// Project and Broker are where the event belongs, Trigger is the ID of the
	// trigger that gave it up.
	Project, Broker, Trigger string
	// Offset is the event's place in the journal.
	Offset uint64
	// Event is the event as it came to the broker.
	Event event.Event
	// Reason is a stable UPPER_SNAKE_CASE word, Detail a text for people.
	Reason, Detail string
	// Status is that of the last answer, 0 when there was none, and Body its
	// begin.
	Status int
	Body   []byte
	// Attempts is how many there were, Replays how many times the event had been
	// replayed before.
	Attempts, Replays int
	// First and Last are when the first attempt began and the last one ended.
	First, Last time.Time
}

// overhead is what a letter takes beside its texts, in memory or as a row.
const overhead = 256

// Size is about how many bytes a letter takes.
func (l *Letter) Size() int {
	return overhead + len(l.Event.DataEncoded) + len(l.Event.ID()) + len(l.Event.Source()) + len(l.Body) + len(l.Detail)
}

// Query selects letters of a project, the newest first.
type Query struct {
	Project string
	// Trigger is an ID; "" selects those of all triggers.
	Trigger string
	// EventID and Source are those of the event; "" selects any.
	EventID, Source string
	// Since selects letters that were given up then or later.
	Since time.Time
	// Before selects letters with a smaller ID, unless it is 0: the next page.
	Before int64
	// Limit bounds the answer; 0 is 100.
	Limit int
}

// Usage is what a project has in the store.
type Usage struct {
	// Letters and Bytes are those kept now, Evicted how many had to go.
	Letters int64 `json:"letters"`
	Bytes   int64 `json:"bytes"`
	Evicted int64 `json:"evicted"`
}

// Store keeps letters. All methods may be called concurrently.
type Store interface {
	// Keep adds the letters that it does not know yet; they are durable on
	// return, unless the bounds evicted them.
	Keep(ctx context.Context, letters []Letter) error
	// List returns the letters that a query selects.
	List(ctx context.Context, q Query) ([]Letter, error)
	// Get returns one letter of a project; NotFound when there is none.
	Get(ctx context.Context, project string, id int64) (Letter, error)
	// Remove takes letters of a project out.
	Remove(ctx context.Context, project string, ids []int64) error
	// Usage returns what the project has.
	Usage(ctx context.Context, project string) (Usage, error)
}
