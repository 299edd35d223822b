package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/sdk/fault"
)

// The media types of the content modes.
const (
	MediaStructured = "application/cloudevents+json"
	MediaBatch      = "application/cloudevents-batch+json"
)

// Mode is a content mode of the CloudEvents HTTP binding.
type Mode uint8

// The content modes.
const (
	Binary Mode = iota
	Structured
	Batch
)

// Limits bounds what is read from a peer; zero values mean the defaults.
type Limits struct {
	// Body bounds the whole body, in bytes; 4 MiB by default.
	Body int64
	// Event bounds one event: its JSON text, or its data in binary mode;
	// 1 MiB by default.
	Event int
}

// The default limits. A batch of 500 events of 2 KB, four times the usual
// reading, fits the body; an event over 1 MiB belongs into a blob store with a
// reference to it.
const (
	DefaultBodyLimit  = 4 << 20
	DefaultEventLimit = 1 << 20
)

// withDefaults fills in the defaults.
func (l Limits) withDefaults() Limits {
	if l.Body <= 0 {
		l.Body = DefaultBodyLimit
	}
	if l.Event <= 0 {
		l.Event = DefaultEventLimit
	}
	return l
}

// Item is one event of a request, or why it is none.
type Item struct {
	// Event is whole when Err is nil, and otherwise holds the attributes that
	// could be read.
	Event Event
	Err   error
}

// FromRequest reads the events of an HTTP request in any of the three content
// modes. The error is about the request as a whole; in a batch the other
// errors are in the items, so that one bad event does not sink the rest.
// Outside a batch there is exactly one item and its error is returned.
func FromRequest(r *http.Request, limits Limits) ([]Item, Mode, error) {
	return decode(r.Header, r.Body, limits.withDefaults())
}

// FromResponse reads the event that answers a delivery: binary or structured.
// An empty body without CloudEvents headers is no event, and nil.
func FromResponse(r *http.Response, limits Limits) (*Event, error) {
	if r.ContentLength == 0 && !hasAttributes(r.Header) {
		return nil, nil
	}
	items, mode, err := decode(r.Header, r.Body, limits.withDefaults())
	switch {
	case errors.Is(err, errEmpty):
		return nil, nil
	case err != nil:
		return nil, err
	case mode == Batch:
		return nil, unsupported("a batch is no reply")
	}
	return &items[0].Event, nil
}

// errEmpty marks a message with neither attributes nor body.
var errEmpty = errors.New("neither CloudEvents headers nor a body")

// decode reads a message with these headers and this body.
func decode(h http.Header, body io.Reader, l Limits) ([]Item, Mode, error) {
	mode, err := modeOf(h)
	if err != nil {
		return nil, mode, err
	}
	buf, ok := bodies.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	defer release(buf)
	if err := readBody(buf, body, l.Body); err != nil {
		return nil, mode, err
	}
	text := buf.Bytes()
	switch mode {
	case Batch:
		texts, err := SplitJSON(text)
		if err != nil {
			return nil, mode, err
		}
		items := make([]Item, len(texts))
		for i, t := range texts {
			items[i] = one(t, l)
		}
		return items, mode, nil
	case Structured:
		item := one(text, l)
		return []Item{item}, mode, item.Err
	}
	if len(text) == 0 && !hasAttributes(h) {
		return nil, mode, unsupported("%w", errEmpty)
	}
	e, err := fromHeaders(h, text, l)
	return []Item{{e, err}}, mode, err
}

// one decodes the JSON text of one event within its bound.
func one(text []byte, l Limits) Item {
	e, err := FromJSON(text)
	if len(text) > l.Event {
		err = tooLarge("event", len(text), int64(l.Event))
	}
	return Item{e, err}
}

// bodies recycles the buffers that bodies are read into: decoding copies what
// it keeps.
var bodies sync.Pool

// keepBody is the largest buffer that is recycled: a batch of the usual size.
const keepBody = 1 << 20

// release gives buf back to the pool.
func release(buf *bytes.Buffer) {
	if buf.Cap() <= keepBody {
		buf.Reset()
		bodies.Put(buf)
	}
}

// readBody reads the whole body into buf, up to limit bytes.
func readBody(buf *bytes.Buffer, body io.Reader, limit int64) error {
	n, err := buf.ReadFrom(io.LimitReader(body, limit+1))
	if err != nil {
		return &fault.Error{Op: "event.Decode", Kind: fault.Unavailable, Reason: "BODY_CUT_SHORT", Field: "body", Err: fmt.Errorf("read body: %w", err)}
	}
	if n > limit {
		return tooLarge("body", int(n), limit)
	}
	return nil
}

// tooLarge is the fault of a body or an event over its bound.
func tooLarge(what string, n int, limit int64) error {
	err := fmt.Errorf("%s of at least %d bytes is over the bound of %d", what, n, limit)
	return &fault.Error{Op: "event.Decode", Kind: fault.TooLarge, Reason: "TOO_LARGE", Field: what, Err: err}
}

// unsupported is the fault of a content type that is no content mode.
func unsupported(format string, args ...any) error {
	return &fault.Error{Op: "event.Decode", Kind: fault.Unsupported, Reason: "UNSUPPORTED_MEDIA_TYPE", Field: "content-type", Err: fmt.Errorf(format, args...)}
}

// modeOf tells the content mode from the headers.
func modeOf(h http.Header) (Mode, error) {
	if enc := h.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return Binary, &fault.Error{
			Op: "event.Decode", Kind: fault.Unsupported, Reason: "UNSUPPORTED_ENCODING", Field: "content-encoding",
			Err: fmt.Errorf("content encoding %q is not spoken here", enc),
		}
	}
	ct := h.Get("Content-Type")
	if ct == MediaBatch {
		return Batch, nil
	}
	if ct == "" {
		return Binary, nil
	}
	t, params, err := mime.ParseMediaType(ct)
	if err != nil {
		return Binary, unsupported("content type %q: %w", ct, err)
	}
	if !strings.HasPrefix(t, "application/cloudevents") {
		if !hasAttributes(h) {
			return Binary, unsupported("content type %q without ce- headers is no CloudEvent: use %s, %s, or binary mode", t, MediaStructured, MediaBatch)
		}
		return Binary, nil
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return Binary, unsupported("charset %q is not spoken here, only UTF-8", cs)
	}
	switch t {
	case MediaStructured:
		return Structured, nil
	case MediaBatch:
		return Batch, nil
	}
	return Structured, unsupported("event format %q is not spoken here, only %s and %s", t, MediaStructured, MediaBatch)
}

// headerPrefix begins the headers that carry attributes in binary mode, in the
// canonical form of net/http.
const headerPrefix = "Ce-"

// hasAttributes reports whether a binary-mode attribute is among the headers.
func hasAttributes(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, headerPrefix) {
			return true
		}
	}
	return false
}

// fromHeaders decodes an event in binary mode. The data is copied.
func fromHeaders(h http.Header, data []byte, l Limits) (Event, error) {
	var b builder
	partial := Event{Context: &b.ctx}
	if len(data) > l.Event {
		return partial, tooLarge("event", len(data), int64(l.Event))
	}
	for name, values := range h {
		attribute, found := strings.CutPrefix(name, headerPrefix)
		if !found {
			continue
		}
		attribute = strings.ToLower(attribute)
		if len(values) > 1 {
			return partial, invalid(attribute, "is there twice")
		}
		if attribute == "datacontenttype" {
			return partial, invalid(attribute, "travels as Content-Type in binary mode")
		}
		if values[0] == "" && !slices.Contains(seenNames[:], attribute) {
			continue // an extension without a value, as in dead letters of Knative, is none
		}
		if err := b.set(attribute, percentDecode(values[0])); err != nil {
			return partial, err
		}
	}
	if ct := h.Get("Content-Type"); ct != "" {
		if err := b.set("datacontenttype", ct); err != nil {
			return partial, err
		}
	}
	e, err := b.event()
	if err != nil || len(data) == 0 {
		return e, err
	}
	e.DataEncoded = bytes.Clone(data)
	if !isJSON(e.DataContentType()) {
		e.DataBase64 = true // which is how the SDK tells that JSON needs base64 for it
		return e, nil
	}
	// The event must have a form in JSON too: that is how it may travel on.
	if err := checkJSON(data); err != nil {
		if e.DataContentType() != "" {
			return e, invalid("data", "is not the JSON that its content type says: %w", err)
		}
		e.DataBase64 = true
	}
	return e, nil
}

// percentDecode undoes the encoding of header values (CloudEvents HTTP binding
// 3.1.3.2). What is not a valid escape stands for itself.
func percentDecode(v string) string {
	if !strings.ContainsRune(v, '%') {
		return v
	}
	if s, err := url.PathUnescape(v); err == nil {
		return s
	}
	return v
}

// percentEncode encodes a header value: everything but printable ASCII, and
// space, double quote and percent.
func percentEncode(v string) string {
	plain := func(c byte) bool { return c > 0x20 && c < 0x7f && c != '"' && c != '%' }
	for i := range len(v) {
		if !plain(v[i]) {
			var b strings.Builder
			for j := range len(v) {
				if plain(v[j]) {
					b.WriteByte(v[j])
				} else {
					fmt.Fprintf(&b, "%%%02X", v[j])
				}
			}
			return b.String()
		}
	}
	return v
}

// SetHeaders writes the attributes of e into h as binary mode carries them.
// The data is the body.
func SetHeaders(h http.Header, e *Event) error {
	set := func(name, value string) {
		if value != "" {
			h[headerPrefix+strings.ToUpper(name[:1])+name[1:]] = []string{percentEncode(value)}
		}
	}
	set("specversion", e.SpecVersion())
	set("id", e.ID())
	set("source", e.Source())
	set("type", e.Type())
	set("subject", e.Subject())
	set("dataschema", e.DataSchema())
	if t := e.Time(); !t.IsZero() {
		text, err := formatAttribute(t)
		if err != nil {
			return fmt.Errorf("time: %w", err)
		}
		set("time", text)
	}
	for name, v := range e.Extensions() {
		text, err := formatAttribute(v)
		if err != nil {
			return fmt.Errorf("extension %s: %w", name, err)
		}
		set(name, text)
	}
	if ct := e.DataContentType(); ct != "" {
		h.Set("Content-Type", ct)
	}
	return nil
}
