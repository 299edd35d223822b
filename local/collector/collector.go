// Package collector is the doors for time series of stock clients: Prometheus
// remote write, Influx line protocol and OTLP over HTTP and gRPC. tsdb/ingest/wire reads
// what they send; this package authorises, keeps, answers and counts.
//
// The one invariant: what was acknowledged survives kill -9. A body goes into
// a log in front of the storage, many bodies with one fsync, while its points are
// appended, and is answered after both; the log is trimmed after the storage has synced, and what is
// left of it at a start is appended again, where the same point counts once
// (docs/adr/0013).
//
// Everything is bounded: the body, as it came and unpacked, its points, the
// bodies in hand, the series of a project, and the log. A full log answers 429
// with Retry-After.
//
// A point that is refused while others of its body are kept is counted in the
// loss ledger under the stream of its door, and the answer says so in the
// protocol's own way. A body that is refused as a whole is counted nowhere but
// in its answer.
package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/ingest/wire"
)

// createTimeSeries is the permission to write points, by Google's name.
const createTimeSeries = "monitoring.timeSeries.create"

// Reasons of answers.
const (
	// ReasonPartlyWritten: some points were refused, the others are kept.
	ReasonPartlyWritten = "PARTLY_WRITTEN"
	// ReasonNoProject: the credentials are of no project and the request names
	// none.
	ReasonNoProject = "NO_PROJECT"
)

// projectHeader and projectParameter name the project of a request whose
// credentials may write to several.
const (
	projectHeader    = "X-Selvedge-Project"
	projectParameter = "project"
)

// The bounds of a request. Stock clients send some thousand points at once, in
// a few hundred kilobytes; benchmarks ten thousand lines, in four megabytes.
const (
	maxBody     = 8 << 20
	maxUnpacked = 32 << 20
)

// Appender is the part of a tsdb.Store that the collector uses.
type Appender interface {
	// Append adds all samples, or none.
	Append(ctx context.Context, samples []tsdb.Sample) error
	// Sync makes durable all that was appended before the call.
	Sync(ctx context.Context) error
}

// Options configures a Service.
type Options struct {
	// Dir is the folder of the log.
	Dir string
	// MaxBytes bounds the log; 0 is a gigabyte.
	MaxBytes int64
	// SyncEvery is how often the storage is synced and the log trimmed; 0 is
	// five seconds. Both happen earlier when a quarter of the log is full.
	SyncEvery time.Duration
	// Series is where the points go, Descriptors has the metrics.
	Series      Appender
	Descriptors ingest.Describer
	// Plan is how events of a type are read that come from the device of that
	// name: nil when no blueprint says so. It is NotFound, with a reason, when the device is not
	// registered. Nil means that there is no door for events.
	Plan func(ctx context.Context, device, eventType string) (*ingest.Plan, error)
	// Ledger counts what was refused.
	Ledger ledger.Ledger
	// Wire bounds what is read.
	Wire wire.Options
	// Authorize says whether the caller of r has the permission in the
	// project. Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Logger gets errors that no caller sees; nil discards them.
	Logger *slog.Logger
}

// Service is the doors; make one with Open.
type Service struct {
	options Options
	log     *slog.Logger
	decoder *wire.Decoder
	// readings decodes the data of events.
	readings *ingest.Decoder
	front    *front
	// slots are places for bodies whose points are in memory.
	slots chan struct{}
	// bodies are *body for reuse.
	bodies sync.Pool
}

// Open opens the log, appends what is left of it to the storage, and begins to
// sync. The storage and the ledger stay the caller's to close, after Close.
func Open(ctx context.Context, o Options) (*Service, error) {
	o.SyncEvery = cmp.Or(o.SyncEvery, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		options: o, log: o.Logger, decoder: wire.New(o.Descriptors, o.Wire),
		readings: ingest.New(o.Descriptors, ingest.Options{MaxFuture: o.Wire.MaxFuture, Retention: o.Wire.Retention}),
		slots:    make(chan struct{}, 4*runtime.GOMAXPROCS(0)),
	}
	var err error
	if s.front, err = openFront(ctx, s); err != nil {
		return nil, fmt.Errorf("open collector: %w", err)
	}
	return s, nil
}

// Close syncs the storage, trims the log and closes it. Requests must have
// ended.
func (s *Service) Close() error { return s.front.close() }

// Sync makes durable what was taken, trims the log, and tells the ledger what
// was refused.
func (s *Service) Sync(ctx context.Context) error { return s.front.sync(ctx) }

// Routes adds the doors to r.
//
//	POST /prometheus/api/v1/write                  remote write 1 and 2
//	POST /influx/write, /influx/api/v2/write       Influx line protocol
//	GET, POST /influx/query                        the statements of Influx's clients before they write
//	GET  /influx/ping, /influx/health              what Influx's clients ask first
//	POST /opentelemetry/v1/metrics, /v1/metrics    OTLP over HTTP
//	POST /cloudevents/write                        CloudEvents with readings, past all triggers
//	POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export
//	                                               OTLP over gRPC
//
// Influx's doors are without /influx too, for clients that cannot be given a
// path. The caller needs the permission monitoring.timeSeries.create, but for
// ping and health.
func (s *Service) Routes(r chi.Router) {
	r.Post("/prometheus/api/v1/write", s.remoteWrite)
	if s.options.Plan != nil {
		r.Post("/cloudevents/write", s.cloudEvents)
	}
	for _, root := range [...]string{"/influx", ""} {
		r.Post(root+"/write", s.influx)
		r.Post(root+"/api/v2/write", s.influx)
		r.Get(root+"/query", s.influxQuery)
		r.Post(root+"/query", s.influxQuery)
		r.Get(root+"/ping", ping)
		r.Head(root+"/ping", ping)
		r.Get(root+"/health", health)
	}
	r.Post("/opentelemetry/v1/metrics", s.otlp)
	r.Post("/v1/metrics", s.otlp)
	s.addExport(r)
}

// body is a body on its way.
type body struct {
	entry
	// record is what goes into the log: the entry's header and the body.
	record []byte
	// unpacked is the buffer of the unpacked body.
	unpacked []byte
	batch    wire.Batch
	// readings is what events are read with, nil if there were none.
	readings *readings
}

// keptBytes bounds the buffers that are kept for the next body.
const keptBytes = 4 << 20

// outcome is what became of the points of a body.
type outcome struct {
	written int
	losses  []function.Loss
}

// lost is how many points were refused. One that was written without some of its
// exemplars was not.
func (o *outcome) lost() int {
	n := 0
	for _, l := range o.losses {
		if l.Reason != ingest.ExemplarNotKept {
			n += l.Count
		}
	}
	return n
}

// partly is the error of a body of which points were refused.
func (o *outcome) partly() error {
	return &fault.Error{
		Op: "collector.take", Kind: fault.Invalid, Reason: ReasonPartlyWritten, Field: "body",
		Err: fmt.Errorf("all points were written but these: %s", function.FormatLosses(o.losses)),
	}
}

// take makes the points of r durable, which is written as e says.
func (s *Service) take(w http.ResponseWriter, r *http.Request, e entry) (out outcome, err error) {
	defer func() {
		if fault.KindOf(err) == fault.Internal && err != nil {
			s.log.LogAttrs(r.Context(), slog.LevelError, "points not written", slog.Any("error", err))
		}
	}()
	if e.project, err = s.project(r); err != nil {
		return out, err
	}
	e.now = tsdb.Millis(time.Now().UnixMilli())
	b, ok := s.bodies.Get().(*body)
	if !ok {
		b = &body{}
	}
	defer s.release(b)
	b.entry = e
	if err := b.read(w, r); err != nil {
		return out, err
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return out, fmt.Errorf("wait for a place: %w", r.Context().Err())
	}
	if err := s.decode(r.Context(), b); err != nil {
		return out, err
	}
	return s.front.keep(r.Context(), b)
}

// release gives b back for reuse.
func (s *Service) release(b *body) {
	if cap(b.record) > keptBytes {
		b.record = nil
	}
	if cap(b.unpacked) > keptBytes {
		b.unpacked = nil
	}
	s.bodies.Put(b)
}

// decode unpacks and decodes b.
func (s *Service) decode(ctx context.Context, b *body) error {
	data, err := wire.Unpack(b.unpacked, b.record[b.headerLen():], b.encoding, maxUnpacked)
	if err != nil {
		return err
	}
	if b.encoding != wire.Plain {
		b.unpacked = data
	}
	if b.format == wire.CloudEvents {
		return s.events(ctx, b, data)
	}
	return s.decoder.Decode(ctx, &wire.Request{
		Project: b.project, Format: b.format, Now: b.now, Unit: b.unit, Data: data,
	}, &b.batch)
}

// project is the project that the request writes to: that of its credentials,
// or the one that it names. The caller may write to it.
func (s *Service) project(r *http.Request) (string, error) {
	named, header := r.URL.Query().Get(projectParameter), r.Header.Get(projectHeader)
	if named != "" && header != "" && named != header {
		return "", &fault.Error{
			Op: "collector.project", Kind: fault.Invalid, Field: projectParameter,
			Err: fmt.Errorf("the parameter and the header %s name different projects", projectHeader),
		}
	}
	id := cmp.Or(named, header, iam.PrincipalOf(r.Context()).Project)
	if s.options.Authorize == nil {
		return "", &fault.Error{Op: "collector.project", Kind: fault.Denied, Field: createTimeSeries}
	}
	if err := s.options.Authorize(r, id, createTimeSeries); err != nil {
		return "", err
	}
	if id == "" {
		return "", &fault.Error{
			Op: "collector.project", Kind: fault.Invalid, Reason: ReasonNoProject, Field: projectParameter,
			Err: fmt.Errorf("the key is of no project: name one by ?%s= or the header %s", projectParameter, projectHeader),
		}
	}
	if _, err := resource.Project.Format(id); err != nil {
		return "", err
	}
	return id, nil
}

// read reads the body of r into b.record, behind the header of its entry.
func (b *body) read(w http.ResponseWriter, r *http.Request) error {
	b.record = b.appendHeader(b.record[:0])
	if n := r.ContentLength + 1; n > 1 && n <= maxBody+1 { // one more, to see the end
		b.record = slices.Grow(b.record, int(n))
	}
	src := http.MaxBytesReader(w, r.Body, maxBody)
	for {
		if len(b.record) == cap(b.record) {
			b.record = append(b.record, 0)[:len(b.record)]
		}
		n, err := src.Read(b.record[len(b.record):cap(b.record)])
		b.record = b.record[:len(b.record)+n]
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &large):
			return &fault.Error{Op: "collector.read", Kind: fault.TooLarge, Field: "body", Err: fmt.Errorf("the body is over %d bytes", large.Limit)}
		case err != nil:
			return &fault.Error{Op: "collector.read", Kind: fault.Invalid, Field: "body", Err: fmt.Errorf("the body did not arrive whole: %w", err)}
		}
	}
}
