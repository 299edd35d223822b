package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// opDecode names Decode in errors.
const opDecode = "tsdb/ingest.Decode"

// Reasons of the Invalid errors of Decode, besides NoNumericField.
const (
	MalformedJSON          = "MALFORMED_JSON"
	NotAnObject            = "NOT_AN_OBJECT"
	UnsupportedContentType = "UNSUPPORTED_CONTENT_TYPE"
	NoDevice               = "NO_DEVICE"
	InvalidTimestamp       = "INVALID_TIMESTAMP"
	// NoNumericField is the reason when the data is well formed and holds
	// nothing that could be a point.
	NoNumericField = "NO_NUMERIC_FIELD"
)

// Event is what Decode needs to know of an event.
type Event struct {
	// Project and Device are the ids of the project and of the device that
	// the event comes from. Only a CreateTimeSeriesRequest can do without a
	// device.
	Project, Device string
	// Type is the CloudEvents type; the types of metrics begin with it.
	Type string
	// MediaType is the CloudEvents datacontenttype; "" means JSON.
	MediaType string
	// Time is when the event happened: the time of its points where the data
	// does not say better, and the "now" of relative times.
	Time tsdb.Millis
	// Data is not kept.
	Data []byte
	// Plan maps the fields of the JSON object to metrics; nil makes every
	// number and boolean a metric.
	Plan *Plan
}

// Options are the bounds of a Decoder. The zero value is ready for use.
type Options struct {
	// MaxFuture is how far ahead of now the time of a point may be. The
	// default, 48 hours, forgives a device in the wrong time zone and still
	// keeps a broken clock from hiding the newest readings for months.
	MaxFuture time.Duration
	// Retention is how old a point may be; 0 means any age.
	Retention time.Duration
	// MaxFields bounds the numbers and booleans of one JSON object that
	// become points; 1000 by default.
	MaxFields int
	// MaxSeries is how many series of those in use are surely remembered; up
	// to twice as many may be, at some 270 bytes each. The default, 2^18, is
	// the working set of 24,000 devices with ten readings each.
	MaxSeries int
}

// withDefaults fills what was left out.
func (o Options) withDefaults() Options {
	o.MaxFuture = cmp.Or(o.MaxFuture, 48*time.Hour)
	o.MaxFields = cmp.Or(o.MaxFields, 1000)
	o.MaxSeries = cmp.Or(o.MaxSeries, 1<<18)
	return o
}

// Describer is the part of tsdb.Descriptors that a Decoder uses. Of its errors
// an Invalid one means that the metric type cannot be one, and an Exhausted
// one that the project may have no more of them: either drops the point. Any
// other is passed on as Unavailable.
type Describer interface {
	Ensure(ctx context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error)
}

// Deleter is a Describer that counts the descriptors of a project that were
// deleted: then what is known of the project's metrics is asked for anew.
type Deleter interface {
	Deletions(project string) uint64
}

// Decoder turns events into samples; make one with New. It may be used
// concurrently.
type Decoder struct {
	descriptors Describer
	opts        Options
	shapes      shapes
}

// New makes a Decoder that asks descriptors for the metrics it does not know.
func New(descriptors Describer, opts Options) *Decoder {
	opts = opts.withDefaults()
	d := &Decoder{descriptors: descriptors, opts: opts, shapes: shapes{bound: opts.MaxSeries}}
	if c, ok := descriptors.(Deleter); ok {
		d.shapes.deletions = c.Deletions
	}
	return d
}

// run is one call of Decode.
type run struct {
	*Decoder
	event *Event
	batch *Batch
	// shape is what is known of events like this one; the run holds its lock.
	shape *shape
	// earliest and latest bound the times of points.
	earliest, latest tsdb.Millis
}

// Decode replaces what is in b by the samples and losses of e. The error is
// Invalid, with one of the reasons above or of the forms, when the data cannot
// be understood: trying again is of no use. It is Unavailable when the
// descriptors do not answer. With an error, b is empty.
func (d *Decoder) Decode(ctx context.Context, e *Event, b *Batch) error {
	b.reset()
	form, err := formOf(e)
	if err != nil {
		return err
	}
	shape := d.shapes.shape(shapeKey{project: e.Project, device: e.Device, eventType: e.Type, form: form, plan: e.Plan})
	shape.begin()
	defer shape.mu.Unlock()
	now := tsdb.Millis(time.Now().UnixMilli())
	r := run{Decoder: d, event: e, batch: b, shape: shape, latest: now + tsdb.Millis(d.opts.MaxFuture.Milliseconds())}
	if r.earliest = minTime; d.opts.Retention > 0 {
		r.earliest = now - tsdb.Millis(d.opts.Retention.Milliseconds())
	}
	switch form {
	case formSenML:
		err = r.senML(ctx)
	case formTimeSeries:
		err = r.timeSeries(ctx)
	case formMapped:
		err = r.mapped(ctx)
	default:
		err = r.object(ctx)
	}
	if err == nil && len(b.Samples) == 0 && len(b.Losses) == 0 {
		err = invalid(NoNumericField, errors.New("the data holds no number and no boolean that could be a point"))
	}
	if err != nil {
		b.reset()
	}
	return err
}

// form is how data is read.
type form uint8

// The forms of data.
const (
	formObject form = iota
	formMapped
	formTimeSeries
	formSenML
)

// formOf says how the data of e is read.
func formOf(e *Event) (form, error) {
	f := formObject
	switch media := mediaType(e.MediaType); {
	case media == event.MediaSenML:
		f = formSenML
	case media != "" && media != "application/json" && media != "text/json" && !strings.HasSuffix(media, "+json"):
		return 0, invalid(UnsupportedContentType, fmt.Errorf("data of type %q is not understood", e.MediaType))
	case e.Type == event.TypeTimeSeries:
		return formTimeSeries, nil
	case e.Plan != nil:
		f = formMapped
	}
	if e.Device == "" {
		return 0, invalid(NoDevice, errors.New("the event belongs to no device"))
	}
	return f, nil
}

// mediaType is the type of a Content-Type without its parameters, lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// invalid is the error of data that is not understood.
func invalid(reason string, err error) error {
	return &fault.Error{Op: opDecode, Kind: fault.Invalid, Reason: reason, Field: "data", Err: err}
}

// malformed is err, which may be a syntax error, as an error of data that is
// not understood.
func malformed(reason string, err error) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return err
	}
	return invalid(reason, err)
}
