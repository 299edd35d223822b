// Package logging keeps events to be read back: alerts, and whatever else
// triggers send to it (SPEC A6). A Function stores, a Service reads.
//
// Function is a Knative function. What it returned for is durable; the same
// event again is stored once. The store is bounded: the oldest events that it
// deletes for new ones are reported by function.Drop.
package logging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/logstore/eventstore/sqlstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/store/sqlite"
)

// The reasons that this function gives.
const (
	// ReasonNoProject: the event does not say whose it is, and is refused.
	ReasonNoProject = "NO_PROJECT"
	// ReasonNoJSON: the event's data is not the JSON that it says it is.
	ReasonNoJSON = "NO_JSON_FORM"
	// ReasonEvicted: an old event was deleted to keep a new one.
	ReasonEvicted = "LOG_EVICTED"
)

// Function stores events. Handle may be called concurrently.
type Function struct {
	// Records is where the events go.
	Records eventstore.Store

	// close releases what Start opened, nil if it opened nothing.
	close func() error
}

var _ interface {
	function.Handler
	function.Starter
	function.Stopper
} = (*Function)(nil)

// New returns the function for a process of its own, whose Start opens the
// store.
func New() *Function { return &Function{} }

// Start opens the database file that SELVEDGE_LOGSTORE names, unless Records
// is set. The file must be on a volume that outlives the process, and one
// process at a time may write to it.
func (f *Function) Start(ctx context.Context, env map[string]string) error {
	if f.Records != nil {
		return nil
	}
	path := env["SELVEDGE_LOGSTORE"]
	if path == "" {
		return errors.New("SELVEDGE_LOGSTORE does not name a database file")
	}
	db, err := sqlite.Open(ctx, path, sqlstore.Schema)
	if err != nil {
		return fmt.Errorf("open log store: %w", err)
	}
	f.Records, f.close = sqlstore.New(db, sqlstore.Options{}), db.Close
	return nil
}

// Stop closes what Start opened.
func (f *Function) Stop(context.Context) error {
	if f.close == nil {
		return nil
	}
	return errors.Join(f.Records.Close(), f.close())
}

// Handle stores e in its project.
func (f *Function) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	project := event.Extension(&e, event.Project)
	if project == "" {
		return nil, &fault.Error{
			Op: "logging.Handle", Kind: fault.Invalid, Reason: ReasonNoProject, Field: event.Project,
			Err: errors.New("the event belongs to no project"),
		}
	}
	// One event that has no form in JSON would spoil every list that it is in.
	if _, err := json.Marshal(e); err != nil {
		return nil, &fault.Error{Op: "logging.Handle", Kind: fault.Invalid, Reason: ReasonNoJSON, Field: "data", Err: err}
	}
	done, err := f.Records.Append(ctx, []eventstore.Record{{Project: project, Event: e}})
	if err != nil {
		return nil, fmt.Errorf("store event: %w", err)
	}
	if done.Evicted > 0 {
		function.Drop(ctx, ReasonEvicted, done.Evicted)
	}
	return nil, nil
}
