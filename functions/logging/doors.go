package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/tsdb"
)

// The permissions that Allow is asked for, by Google's names. They are asked on
// the bucket, or on the project for all of its buckets.
const (
	// CreateEntries is needed to write entries.
	CreateEntries = "logging.logEntries.create"
	// ListEntries is needed to read, follow and count them.
	ListEntries = "logging.logEntries.list"
	// ListPrivate is needed in its place for the bucket of the audit log.
	ListPrivate = "logging.privateLogEntries.list"
	// ListLogs is needed to read which logs there are, DeleteLog to delete one;
	// the latter is asked on the project alone.
	ListLogs  = "logging.logs.list"
	DeleteLog = "logging.logs.delete"
	// ListEvents is needed to read the events of a project.
	ListEvents = "logging.events.list"
)

// Permissions are those that the doors ask for which are in no proto file.
func Permissions() []string {
	return []string{CreateEntries, ListEntries, ListPrivate, ListLogs, DeleteLog, ListEvents}
}

// Options are what the doors need.
type Options struct {
	// Registry has the buckets.
	Registry *Registry
	// Intake takes entries, Reader finds them in the store behind it.
	Intake *intake.Intake
	Reader logstore.Reader
	// Resources are the types of what entries are about; nil means that there
	// are none but "device".
	Resources tsdb.Resources
	// Ledger counts what was refused.
	Ledger ledger.Ledger
	// Allow is nil when the caller of a context has the permission on the
	// resource of that name, and else the error to answer with. Nil denies
	// everything.
	Allow func(ctx context.Context, permission string, name resource.Name) error
	// Leave gives up the caller's place among the requests in hand: those that
	// last are bounded here. Nil does nothing.
	Leave func(ctx context.Context)
	// Now is the clock; nil is the system's.
	Now func() time.Time
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Doors are where entries come in and are read back; make them with [NewDoors].
// They may be used concurrently.
type Doors struct {
	o    Options
	lost lost
	// ended is closed when the server shuts down: who follows is let go.
	ended   chan struct{}
	endOnce sync.Once
}

// NewDoors makes the doors.
func NewDoors(o Options) *Doors {
	if o.Leave == nil {
		o.Leave = func(context.Context) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Doors{o: o, ended: make(chan struct{})}
}

// End lets go of all who follow entries, for the shutdown of the server.
func (d *Doors) End() { d.endOnce.Do(func() { close(d.ended) }) }

// Routes adds the doors, which the package comment lists, to r.
func (d *Doors) Routes(r chi.Router) {
	r.Post("/v2/entries:write", d.handle(d.restWrite))
	r.Post("/v2/entries:list", d.handle(d.restList))
	r.Post("/v2/entries:tail", d.handle(d.restTail))
	r.Post("/v2/entries:count", d.handle(d.restCount))
	r.Get("/v2/projects/{project}/logs", d.handle(d.restLogs))
	r.Get("/v2/projects/{project}/locations/{location}/buckets/{bucket}/views/{view}/logs", d.handle(d.restLogs))
	r.Delete("/v2/projects/{project}/logs/{log}", d.handle(d.restDeleteLog))
	r.Get("/v2/monitoredResourceDescriptors", d.handle(d.restResources))
	d.addProcedures(r)
	for _, root := range []string{"", "/opentelemetry"} {
		r.Post(root+"/v1/logs", d.otlp)
	}
	d.addExport(r)
	r.Post("/loki/api/v1/push", d.handle(d.lokiPush))
	r.Get("/v1/projects/{project}/events", d.handle(d.restEvents))
}

// handle answers with the error that f returns, if any. An f that has begun to
// answer returns nil.
func (d *Doors) handle(f func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			d.log(r.Context(), r.URL.Path, err)
			writeError(w, err)
		}
	}
}

// log tells of an internal error, which the caller does not see.
func (d *Doors) log(ctx context.Context, path string, err error) {
	if ctx.Err() == nil && fault.KindOf(err) == fault.Internal {
		d.o.Logger.ErrorContext(ctx, "logging request failed", slog.Any("error", err), slog.String("path", path))
	}
}

// How the request of a door without a place for them names a project, for
// credentials that are of none or of several, and a bucket.
const (
	projectParameter, projectHeader = "project", "X-Selvedge-Project"
	bucketParameter, bucketHeader   = "bucket", "X-Selvedge-Bucket"
	tenantHeader                    = "X-Scope-OrgID"
)

// named is what a request says by a parameter or a header.
func named(r *http.Request, parameter, header string) (string, error) {
	p, h := r.URL.Query().Get(parameter), r.Header.Get(header)
	if p != "" && h != "" && p != h {
		return "", invalid(parameter, "the parameter and the header %s say different things", header)
	}
	return cmp.Or(p, h), nil
}

// into is the project and the bucket that a request writes to: those that it
// names, or the project of its credentials, and a bucket of "".
func into(r *http.Request) (project, bucket string, err error) {
	if project, err = named(r, projectParameter, projectHeader); err == nil {
		bucket, err = named(r, bucketParameter, bucketHeader)
	}
	return cmp.Or(project, iam.PrincipalOf(r.Context()).Project), bucket, err
}

// invalid is the fault of a field or a parameter.
func invalid(field, format string, args ...any) error {
	return &fault.Error{Op: "logging", Kind: fault.Invalid, Reason: "INVALID_ARGUMENT", Field: field, Err: fmt.Errorf(format, args...)}
}

// checkProject is nil if a text is the id of a project, and for "" says how to
// name one.
func checkProject(id string) error {
	if id == "" {
		return &fault.Error{
			Op: "logging.checkProject", Kind: fault.Invalid, Reason: "NO_PROJECT", Field: projectParameter,
			Err: fmt.Errorf("the credentials are of no project: name one by ?%s= or the header %s", projectParameter, projectHeader),
		}
	}
	_, err := resource.Project.Format(id)
	return err
}

// flushTime bounds how long a reader waits for what was written before. With the
// store away he is shown what there is, or its error.
const flushTime = 2 * time.Second

// flush has what was acknowledged be found.
func (d *Doors) flush(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if err := d.o.Intake.Flush(waiting); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// errEnded is why who followed is let go.
var errEnded = errors.New("the platform is stopping")
