package event

import (
	"encoding/binary"
	"errors"
	"net/url"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// Head is the attributes of an event in its record form, where they lie: what
// routes an event reads them without decoding it. A Head is valid as long as
// its record is not changed. The zero value is no Head.
type Head struct {
	record []byte
	// texts are the strings at the begin of the record, in its order.
	texts [texts]span
	// sec and nano are the time, if the record has one.
	sec  int64
	nano uint64
	// extensions is where the first of count extensions begins, data where the
	// data does.
	extensions, count, data uint32
}

// The strings at the begin of a record.
const (
	textID = iota
	textSource
	textType
	textSubject
	textContentType
	textSchema
	texts
)

// span is a part of a record, from (inclusive) to (exclusive).
type span struct{ from, to uint32 }

// errCutShort is the error of a record that ends too early.
var errCutShort = errors.New("event record: cut short")

// maxRecord bounds a record that can be read: above it, a place in it is no
// uint32. No journal takes a tenth of it.
const maxRecord = 1 << 31

// ReadHead reads the attributes of an event in its record form. What an
// attribute says is not looked at: Event may still fail.
func ReadHead(record []byte) (Head, error) {
	if len(record) < 2 || uint64(len(record)) > maxRecord || record[0] != recordVersion {
		return Head{}, errors.New("event record: unknown version")
	}
	h := Head{record: record}
	r := recordReader{record: record, at: 2}
	for i := range h.texts {
		if at := r.at; at < len(record) && record[at] < 0x80 && int(record[at]) < len(record)-at { // nearly all
			h.texts[i] = span{uint32(at) + 1, uint32(at) + 1 + uint32(record[at])}
			r.at = int(h.texts[i].to)
			continue
		}
		h.texts[i] = r.text()
	}
	if record[1]&hasTime != 0 {
		h.sec, h.nano = r.varint(), r.uvarint()
	}
	count := r.uvarint()
	h.extensions = uint32(r.at)
	for n := uint64(0); n < count && !r.failed; n++ {
		r.text()
		r.byte()
		r.text()
	}
	if r.failed {
		return Head{}, errCutShort
	}
	h.count, h.data = uint32(count), uint32(r.at)
	return h, nil
}

// Moved is h in a copy of its record.
func (h *Head) Moved(record []byte) Head {
	moved := *h
	moved.record = record
	return moved
}

// bytes is a part of the record.
func (h *Head) bytes(s span) []byte { return h.record[s.from:s.to] }

// ID is the event's id, as a part of the record.
func (h *Head) ID() []byte { return h.bytes(h.texts[textID]) }

// Source is the event's source, as a part of the record.
func (h *Head) Source() []byte { return h.bytes(h.texts[textSource]) }

// Type is the event's type, as a part of the record.
func (h *Head) Type() []byte { return h.bytes(h.texts[textType]) }

// Subject is the event's subject, as a part of the record; empty for none.
func (h *Head) Subject() []byte { return h.bytes(h.texts[textSubject]) }

// DataContentType is the media type of the data, as a part of the record; empty
// for none.
func (h *Head) DataContentType() []byte { return h.bytes(h.texts[textContentType]) }

// DataSchema is the schema of the data, as a part of the record; empty for none.
func (h *Head) DataSchema() []byte { return h.bytes(h.texts[textSchema]) }

// Data is the event's data, as a part of the record; empty for none.
func (h *Head) Data() []byte { return h.record[h.data:] }

// Time is when the event happened, the zero time where it does not say.
func (h *Head) Time() time.Time {
	if h.record[1]&hasTime == 0 {
		return time.Time{}
	}
	return time.Unix(h.sec, int64(h.nano)).UTC()
}

// Extension is the canonical text of an extension attribute, as a part of the
// record, and whether it is there. Plain says that its value is a string.
func (h *Head) Extension(name string) (text []byte, plain, ok bool) {
	s, kind, ok := h.find(name)
	return h.bytes(s), kind == kindString, ok
}

// Simple reports whether the extension attribute of that name, which is there,
// is a string, a boolean or an integer, whose canonical text is what Go prints.
func (h *Head) Simple(name string) bool {
	_, kind, _ := h.find(name)
	return kind <= kindInteger
}

// find is where the value of an extension is, and its kind.
func (h *Head) find(name string) (span, byte, bool) {
	r := recordReader{record: h.record, at: int(h.extensions)}
	for range h.count {
		is := string(h.bytes(r.text())) == name
		kind := r.byte()
		if value := r.text(); is {
			return value, kind, true
		}
	}
	return span{}, 0, false
}

// Value is the extension attribute of that name in the type that it has, as
// Value is of the event.
func (h *Head) Value(name string) (any, bool) {
	s, kind, ok := h.find(name)
	if !ok {
		return nil, false
	}
	v, err := parseExtension(kind, string(h.bytes(s)))
	return v, err == nil
}

// maxText is how much of a record its attributes hold on to at most, in bytes.
const maxText = 1 << 10

// decoded is the parts of an event that are allocated together.
type decoded struct {
	ctx                  ce.EventContextV1
	time                 types.Timestamp
	subject, contentType string
}

// Event decodes the event. It keeps nothing of the record. Room is how many
// extension attributes somebody is about to add.
func (h *Head) Event(room int) (Event, error) {
	// The strings are parts of text, made once for all of them.
	text := ""
	if h.data <= maxText {
		text = string(h.record[:h.data])
	}
	part := func(s span) string {
		if text != "" {
			return text[s.from:s.to]
		}
		return string(h.bytes(s))
	}
	d := &decoded{}
	c := &d.ctx
	c.ID, c.Type = part(h.texts[textID]), part(h.texts[textType])
	if err := parseURL(&c.Source.URL, part(h.texts[textSource])); err != nil {
		return Event{}, unreadable(err)
	}
	if d.subject = part(h.texts[textSubject]); d.subject != "" {
		c.Subject = &d.subject
	}
	if d.contentType = part(h.texts[textContentType]); d.contentType != "" {
		c.DataContentType = &d.contentType
	}
	if schema := part(h.texts[textSchema]); schema != "" {
		c.DataSchema = &types.URI{}
		if err := parseURL(&c.DataSchema.URL, schema); err != nil {
			return Event{}, unreadable(err)
		}
		if c.DataSchema.URL == (url.URL{}) {
			c.DataSchema = nil
		}
	}
	if h.record[1]&hasTime != 0 {
		d.time = types.Timestamp{Time: h.Time()}
		c.Time = &d.time
	}
	if n := int(h.count) + room; n > 0 {
		c.Extensions = make(map[string]any, n)
	}
	r := recordReader{record: h.record, at: int(h.extensions)}
	for range h.count {
		name, kind := part(r.text()), r.byte()
		v, err := parseExtension(kind, part(r.text()))
		if err != nil {
			return Event{}, unreadable(err)
		}
		c.Extensions[name] = v
	}
	e := Event{Context: c, DataBase64: h.record[1]&dataBase64 != 0}
	if h.record[1]&hasData != 0 {
		data := h.record[h.data:]
		e.DataEncoded = append(make([]byte, 0, len(data)), data...)
	}
	return e, nil
}

// recordReader reads the parts of a record in place; once it has failed,
// everything is zero.
type recordReader struct {
	record []byte
	at     int
	failed bool
}

// fail ends the reading.
func (r *recordReader) fail() { r.failed, r.at = true, len(r.record) }

// byte reads one byte.
func (r *recordReader) byte() byte {
	if r.at >= len(r.record) {
		r.fail()
		return 0
	}
	b := r.record[r.at]
	r.at++
	return b
}

// uvarint reads an unsigned number.
func (r *recordReader) uvarint() uint64 {
	if r.at < len(r.record) && r.record[r.at] < 0x80 { // nearly all lengths
		r.at++
		return uint64(r.record[r.at-1])
	}
	v, n := binary.Uvarint(r.record[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// varint reads a signed number.
func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.record[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// text reads where a string is.
func (r *recordReader) text() span {
	n := r.uvarint()
	if n > uint64(len(r.record)-r.at) {
		r.fail()
		return span{}
	}
	s := span{uint32(r.at), uint32(r.at) + uint32(n)}
	r.at += int(n)
	return s
}
