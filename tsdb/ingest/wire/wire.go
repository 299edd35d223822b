// Package wire turns the bodies that stock clients send into samples of time
// series: Influx line protocol (influx.go), Prometheus remote write 1 and 2
// (remotewrite.go, remotewrite2.go) and OTLP metrics in protobuf (otlp.go) and
// JSON (otlpjson.go).
//
// The one invariant: a body is decoded wholly or not at all, and every point
// of it that is well formed gets a verdict of its own. What cannot be stored is
// counted in [Batch.Losses]; one bad sample never loses a batch. Decoding a
// body again at the same [Request.Now] gives the same samples, so that a log of
// bodies can be replayed.
//
// A [Decoder] may be used concurrently, a [Batch] may not. Nothing here does
// I/O, except that unknown metrics are asked for at the descriptors.
//
// # Why not VictoriaMetrics' parsers
//
// Of that library only the bounded snappy reader is used. Its stream parsers
// take their bounds from the command line's flags. Its parsers of messages are
// free of those, but answer another question: the Influx one reads text and
// numbers that are none as 0 and logs the lines that it leaves out, the one of
// remote write does not know version 2 and makes series of native histograms,
// and the one of OTLP makes them of all distributions and forgets whether a
// sum is monotonic. None tells which point was refused, and all split labels
// before it is known whether the series was seen before. Some import a JSON
// parser that nothing else here needs.
//
// # Speed
//
// A series is known by the bytes that its labels have in the body: a sample of
// a series that was seen before costs a map lookup and no allocation. What is
// remembered is bounded ([Options.MaxRemembered]) and
// belongs to one project.
package wire

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// opDecode names Decode in errors.
const opDecode = "tsdb/ingest/wire.Decode"

// Reasons for which points are dropped, beside those of tsdb/ingest.
const (
	// InvalidLine is a line that is not Influx line protocol; how many points
	// it was meant to be is not known, so it counts as one.
	InvalidLine = "INVALID_LINE"
	// TooManyLabels is a series with more labels than one may have.
	TooManyLabels = "TOO_MANY_LABELS"
)

// Reasons of the Invalid errors of Decode.
const (
	// Malformed is a body that is not of its format.
	Malformed = "MALFORMED_BODY"
	// TooManyPoints is a body with more points than one may have; the error's
	// kind is TooLarge.
	TooManyPoints = "TOO_MANY_POINTS"
)

// Format is what a body is written in.
type Format uint8

// The formats. The numbers are kept in logs: they do not change.
const (
	Influx Format = iota + 1
	RemoteWrite1
	RemoteWrite2
	OTLP
	// OTLPInJSON is OTLP in JSON.
	OTLPInJSON
	// CloudEvents are events in JSON; package collector reads them, and not a
	// Decoder.
	CloudEvents
	formats
)

// Unit is the length of a time unit in nanoseconds.
type Unit int64

// UnitOf is the unit of the parameter precision of Influx's doors; "" is
// nanoseconds.
func UnitOf(precision string) (Unit, bool) {
	switch precision {
	case "", "n", "ns":
		return 1, true
	case "u", "us", "µ", "µs":
		return Unit(time.Microsecond), true
	case "ms":
		return Unit(time.Millisecond), true
	case "s":
		return Unit(time.Second), true
	case "m":
		return Unit(time.Minute), true
	case "h":
		return Unit(time.Hour), true
	}
	return 0, false
}

// Request is a body and what must be known to read it.
type Request struct {
	// Project is the id of the project that the points belong to.
	Project string
	// Format is that of Data.
	Format Format
	// Now is when the body came: the time of points that state none, and what
	// the bounds of times are counted from.
	Now tsdb.Millis
	// Unit is that of the timestamps of Influx lines.
	Unit Unit
	// Data is the unpacked body. It is not kept.
	Data []byte
}

// Batch is what Decode made of a body. The zero value is ready; using one again
// saves its memory. Samples and Losses are valid until then.
type Batch struct {
	// Samples are the points to store. Their Series are shared.
	Samples []tsdb.Sample
	// Losses are the points that cannot be stored, by reason; and exemplars, under
	// ingest.ExemplarNotKept, without which their points are stored.
	Losses []function.Loss

	// buckets are those of the distributions among the samples, which the bound
	// of points counts too.
	buckets int
	// key, text, fields, labels, symbols and spans are scratch space.
	key, text []byte
	fields    []influxField
	labels    tsdb.Labels
	symbols   [][]byte
	spans     [][]byte
}

// maxKept bounds the samples whose memory a Batch keeps for the next body: 3 MB.
const maxKept = 1 << 17

// Reset empties the batch and lets go of the last body.
func (b *Batch) Reset() {
	if cap(b.Samples) > maxKept {
		b.Samples = nil
	}
	if cap(b.fields) > maxKept {
		b.fields = nil
	}
	clear(b.fields)
	clear(b.symbols)
	clear(b.spans)
	clear(b.labels)
	b.Samples, b.Losses, b.fields = b.Samples[:0], b.Losses[:0], b.fields[:0]
	b.buckets = 0
	b.symbols, b.spans, b.labels = b.symbols[:0], b.spans[:0], b.labels[:0]
}

// Lose counts n points that were dropped for reason.
func (b *Batch) Lose(reason string, n int) {
	if n == 0 {
		return
	}
	for i := range b.Losses {
		if b.Losses[i].Reason == reason {
			b.Losses[i].Count += n
			return
		}
	}
	b.Losses = append(b.Losses, function.Loss{Reason: reason, Count: n})
}

// Options are the bounds of a Decoder. The zero value is ready for use.
type Options struct {
	// MaxFuture is how far ahead of Request.Now a point may be; 48 hours by
	// default, as everywhere.
	MaxFuture time.Duration
	// Retention is how old a point may be; 0 means any age.
	Retention time.Duration
	// MaxPoints bounds the points of one body; 1,000,000 by default, which
	// take 24 MB.
	MaxPoints int
	// Window is after which time the series of a project are forgotten, so that
	// those that are no more take no memory; 24 hours by default.
	Window time.Duration
	// MaxRemembered bounds the series that are remembered of all projects
	// together; 1,000,000 by default, at half a kilobyte each. At the bound
	// all is forgotten. How many series a project may have is not decided here:
	// the storage's gate does (tsdb/guard).
	MaxRemembered int
}

// The defaults of Options.
const (
	defaultMaxFuture = 48 * time.Hour
	// DefaultMaxPoints is Options.MaxPoints if that is 0.
	DefaultMaxPoints     = 1_000_000
	defaultWindow        = 24 * time.Hour
	defaultMaxRemembered = 1_000_000
)

// Decoder decodes bodies; make one with New.
type Decoder struct {
	descriptors ingest.Describer
	options     Options

	// mu guards what follows. A project's own lock is taken without it.
	mu       sync.Mutex
	projects map[string]*project
	// remembered counts the series in all projects.
	remembered int
}

// New returns a decoder that asks descriptors for the metrics of new series.
func New(descriptors ingest.Describer, o Options) *Decoder {
	o.MaxFuture = cmp.Or(o.MaxFuture, defaultMaxFuture)
	o.MaxPoints = cmp.Or(o.MaxPoints, DefaultMaxPoints)
	o.Window = cmp.Or(o.Window, defaultWindow)
	o.MaxRemembered = cmp.Or(o.MaxRemembered, defaultMaxRemembered)
	return &Decoder{descriptors: descriptors, options: o, projects: map[string]*project{}}
}

// run is one call of Decode.
type run struct {
	*Decoder
	request *Request
	batch   *Batch
	project *project
	// earliest and latest are the bounds of times.
	earliest, latest tsdb.Millis
}

// minTime is the earliest time of a point: the second day of Unix time, since
// the storage begins there.
const minTime = tsdb.Millis(24 * time.Hour / time.Millisecond)

// Decode makes samples of a body. An error is Invalid with the reason
// Malformed, TooLarge with TooManyPoints, or Unavailable when the descriptors
// are; then b is to be thrown away.
func (d *Decoder) Decode(ctx context.Context, req *Request, b *Batch) error {
	b.Reset()
	if req.Format == OTLPInJSON {
		data, err := otlpOfJSON(req.Data)
		if err != nil {
			return err
		}
		same := *req
		same.Format, same.Data = OTLP, data
		req = &same
	}
	r := &run{
		Decoder: d, request: req, batch: b, project: d.projectOf(req.Project, req.Now),
		earliest: minTime, latest: req.Now + tsdb.Millis(d.options.MaxFuture/time.Millisecond),
	}
	if d.options.Retention > 0 {
		r.earliest = max(minTime, req.Now-tsdb.Millis(d.options.Retention/time.Millisecond))
	}
	r.project.mu.RLock()
	defer r.project.mu.RUnlock()
	var err error
	switch req.Format {
	case Influx:
		err = r.influx(ctx)
	case RemoteWrite1:
		err = r.remoteWrite1(ctx)
	case RemoteWrite2:
		err = r.remoteWrite2(ctx)
	case OTLP:
		err = r.otlp(ctx)
	default:
		err = malformed(fmt.Errorf("there is no format %d", req.Format))
	}
	if err != nil {
		b.Reset()
	}
	return err
}

// malformed is the error of a body that is not of its format.
func malformed(err error) error {
	return &fault.Error{Op: opDecode, Kind: fault.Invalid, Reason: Malformed, Field: "body", Err: err}
}

// room is an error when the body has more points than it may have.
func (r *run) room() error {
	if len(r.batch.Samples)+len(r.batch.fields)+r.batch.buckets <= r.options.MaxPoints {
		return nil
	}
	return &fault.Error{
		Op: opDecode, Kind: fault.TooLarge, Reason: TooManyPoints, Field: "body",
		Err: fmt.Errorf("more than %d points in one body", r.options.MaxPoints),
	}
}

// inTime is the reason why there can be no point at t, "" if there can.
func (r *run) inTime(t tsdb.Millis) string {
	switch {
	case t > r.latest:
		return ingest.TooFarInFuture
	case t < r.earliest:
		return ingest.TooOld
	}
	return ""
}

// finite reports whether v is a number that can be stored.
func finite(v float64) bool { return v-v == 0 }
