package collector

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/ingest/wire"
)

// Reasons for which an event is refused here, beside those of tsdb/ingest and of
// Options.Plan.
const (
	// InvalidEvent is an event that is none by CloudEvents 1.0, or that brings
	// attributes along that only the platform may set.
	InvalidEvent = "INVALID_EVENT"
	// UnnamedDevice is a source that is no device of the project; the processor's
	// word.
	UnnamedDevice = "UNNAMED_DEVICE"
)

// cloudEvents handles POST /cloudevents/write: events whose data are readings of
// registered devices, in the JSON format, one or a batch. What they become is
// what they become at the end of the default route; but they go nowhere else: no
// trigger sees them. So there are no ids to be remembered, the same point counts
// once anyway. It answers 204 when all points are kept, and 400 when some were
// refused for good.
func (s *Service) cloudEvents(w http.ResponseWriter, r *http.Request) {
	e := entry{format: wire.CloudEvents}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != event.MediaBatch && media != event.MediaStructured {
		fault.Write(w, unsupported("Content-Type", "want "+event.MediaBatch+" or "+event.MediaStructured))
		return
	}
	var ok bool
	if e.encoding, ok = wire.EncodingOf(r.Header.Get("Content-Encoding")); !ok || e.encoding == wire.Snappy {
		fault.Write(w, unsupported("Content-Encoding", "events are plain or packed with gzip"))
		return
	}
	out, err := s.take(w, r, e)
	if err == nil && len(out.losses) > 0 {
		w.Header().Set(function.LossesHeader, function.FormatLosses(out.losses))
		if out.lost() > 0 {
			err = out.partly()
		}
	}
	if err != nil {
		fault.Write(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readings is what is needed to read events, and used again.
type readings struct {
	batch ingest.Batch
	// sources are those of the body in hand.
	sources map[string]*source
}

// source is the device that events of a source come from, and how those of the
// type that came last are read; or why they are refused.
type source struct {
	device, name string
	eventType    string
	plan         *ingest.Plan
	refused      string
}

// attributes are the members of an event in JSON that matter here: strings as
// they stand between their quotes, and the data as it stands.
type attributes struct {
	specVersion, id, source, eventType, time, media []byte
	data, base64                                    []byte
	wrong                                           bool
}

// events makes samples of a body of events.
func (s *Service) events(ctx context.Context, b *body, data []byte) error {
	if b.readings == nil {
		b.readings = &readings{sources: map[string]*source{}}
	}
	clear(b.readings.sources)
	b.batch.Reset()
	if !utf8.Valid(data) {
		return malformedEvents(errors.New("the text is not UTF-8"))
	}
	in := jsonscan.New(data)
	one := func() error {
		var a attributes
		if err := a.read(&in); err != nil {
			return malformedEvents(err)
		}
		return s.event(ctx, b, &a)
	}
	var err error
	if in.Peek() == '[' {
		err = in.Array(one)
	} else {
		err = one()
	}
	if err == nil {
		if err = in.End(); err == nil {
			return nil
		}
	}
	b.batch.Reset()
	return malformedEvents(err)
}

// malformedEvents is the error of a body that holds no events, if err is no error
// of its own.
func malformedEvents(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return &fault.Error{Op: "collector.events", Kind: fault.Invalid, Reason: wire.Malformed, Field: "body", Err: err}
}

// read reads the members of an event. An error is one of the text's syntax.
func (a *attributes) read(in *jsonscan.Scanner) error {
	if err := in.Open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := in.Next(first, '}')
		if err != nil || !more {
			return err
		}
		name, err := in.Key()
		if err != nil {
			return err
		}
		if err := a.member(in, name); err != nil {
			return err
		}
	}
}

// member reads the value of a member.
func (a *attributes) member(in *jsonscan.Scanner, name []byte) error {
	var to *[]byte
	switch string(name) {
	case "data":
		text, err := in.Value()
		a.wrong = a.wrong || a.data != nil
		a.data = text
		return err
	case "specversion":
		to = &a.specVersion
	case "id":
		to = &a.id
	case "source":
		to = &a.source
	case "type":
		to = &a.eventType
	case "time":
		to = &a.time
	case "datacontenttype":
		to = &a.media
	case "data_base64":
		to = &a.base64
	default:
		a.wrong = a.wrong || strings.HasPrefix(string(name), event.Reserved)
		return in.Skip()
	}
	if c := in.Peek(); c == '{' || c == '[' {
		a.wrong = true
		return in.Skip()
	}
	v, err := in.Scalar()
	if v.Kind != jsonscan.Null { // which is as good as not there
		a.wrong = a.wrong || v.Kind != jsonscan.String || len(v.Raw) == 0 || *to != nil
		*to = v.Raw
	}
	return err
}

// event adds the points of an event.
func (s *Service) event(ctx context.Context, b *body, a *attributes) error {
	in := ingest.Event{Project: b.project, Time: b.now}
	if !a.complete(&in) {
		b.batch.Lose(InvalidEvent, 1)
		return nil
	}
	from, err := s.source(ctx, b, a)
	if err != nil {
		return err
	}
	if from.refused != "" {
		b.batch.Lose(from.refused, 1)
		return nil
	}
	in.Device, in.Type, in.Plan = from.device, from.eventType, from.plan
	got := &b.readings.batch
	if err := s.readings.Decode(ctx, &in, got); err != nil {
		if fault.KindOf(err) != fault.Invalid {
			return err
		}
		b.batch.Lose(fault.ReasonOf(err), 1)
		return nil
	}
	for _, l := range got.Losses {
		b.batch.Lose(l.Reason, l.Count)
	}
	b.batch.Samples = append(b.batch.Samples, got.Samples...)
	if n := cmp.Or(s.options.Wire.MaxPoints, wire.DefaultMaxPoints); len(b.batch.Samples) > n {
		return &fault.Error{
			Op: "collector.events", Kind: fault.TooLarge, Reason: wire.TooManyPoints, Field: "body",
			Err: fmt.Errorf("more than %d points in one body", n),
		}
	}
	return nil
}

// complete reports whether the attributes are those of an event with data, and
// sets what they say of it.
func (a *attributes) complete(in *ingest.Event) bool {
	if a.wrong || string(a.specVersion) != "1.0" || len(a.id) == 0 || len(a.source) == 0 || len(a.eventType) == 0 {
		return false
	}
	if a.time != nil {
		var at time.Time
		if at.UnmarshalText(a.time) != nil {
			return false
		}
		in.Time = tsdb.Millis(at.UnixMilli())
	}
	plain := a.media == nil || string(a.media) == "application/json"
	if !plain {
		in.MediaType = string(jsonscan.Unquote(a.media))
	}
	switch {
	case (a.data == nil) == (a.base64 == nil):
		return false
	case a.base64 != nil:
		var err error
		in.Data, err = base64.StdEncoding.DecodeString(string(jsonscan.Unquote(a.base64)))
		return err == nil
	case plain || isJSON(in.MediaType):
		in.Data = a.data
		return true
	case len(a.data) < 2 || a.data[0] != '"':
		return false
	}
	in.Data = jsonscan.Unquote(a.data[1 : len(a.data)-1])
	return true
}

// isJSON reports whether data of a content type stands in an event as it is.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// source is the device of an event. It is asked for once for a body, since most
// bodies have many events of few devices.
func (s *Service) source(ctx context.Context, b *body, a *attributes) (*source, error) {
	from := b.readings.sources[string(a.source)]
	if from == nil {
		from = &source{}
		name, ok := strings.CutPrefix(string(jsonscan.Unquote(a.source)), event.Authority)
		device, err := resource.ParseDevice(name)
		if ok && err == nil && device.Project() == b.project {
			from.name, from.device = name, device.ID()
		} else {
			from.refused = UnnamedDevice
		}
		b.readings.sources[string(a.source)] = from
	}
	if from.name == "" || from.eventType == string(a.eventType) {
		return from, nil
	}
	eventType := string(jsonscan.Unquote(a.eventType))
	plan, err := s.options.Plan(ctx, from.name, eventType)
	switch k := fault.KindOf(err); {
	case err == nil:
		from.refused, from.plan = "", plan
	case k == fault.NotFound || k == fault.Invalid:
		from.refused, from.plan = fault.ReasonOf(err), nil
	default:
		return nil, fmt.Errorf("device of an event: %w", err)
	}
	from.eventType = eventType
	return from, nil
}
