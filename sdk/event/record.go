package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// The record form of an event is what journals keep. It is a byte of version,
// then the attributes in a fixed order, then the data:
//
//	version  1 byte   recordVersion
//	flags    1 byte   bits below
//	id, source, type                   string each
//	subject, datacontenttype,
//	dataschema                         string each, "" when absent
//	time     varint seconds since 1970, uvarint nanoseconds; only with hasTime
//	extensions uvarint count, then per extension, sorted by name:
//	         name string, kind 1 byte, value string (canonical form)
//	data     the rest
//
// where a string is a uvarint length and that many bytes. A timestamp comes
// back in UTC; everything else comes back as it was.
const recordVersion = 1

// The bits of the flags byte.
const (
	hasTime = 1 << iota
	dataBase64
	hasData
)

// The kinds of an extension's value.
const (
	kindString = iota
	kindBool
	kindInteger
	kindTimestamp
	kindURI
	kindURIRef
	kindBinary
)

// AppendRecord appends the record form of e to dst. It fails for an event
// without a context of version 1.0 or with an extension of no CloudEvents type.
func AppendRecord(dst []byte, e *Event) ([]byte, error) {
	c, ok := e.Context.(*ce.EventContextV1)
	if !ok {
		return dst, errors.New("event record: not an event of version 1.0")
	}
	var flags byte
	if c.Time != nil {
		flags |= hasTime
	}
	if e.DataBase64 {
		flags |= dataBase64
	}
	if e.DataEncoded != nil {
		flags |= hasData
	}
	dst = append(dst, recordVersion, flags)
	dst = appendString(dst, c.ID)
	dst = appendString(dst, c.Source.String())
	dst = appendString(dst, c.Type)
	dst = appendString(dst, deref(c.Subject))
	dst = appendString(dst, deref(c.DataContentType))
	schema := ""
	if c.DataSchema != nil {
		schema = c.DataSchema.String()
	}
	dst = appendString(dst, schema)
	if c.Time != nil {
		dst = binary.AppendVarint(dst, c.Time.Unix())
		dst = binary.AppendUvarint(dst, uint64(c.Time.Nanosecond()))
	}
	dst, err := appendExtensions(dst, c.Extensions)
	if err != nil {
		return dst, err
	}
	return append(dst, e.DataEncoded...), nil
}

// appendExtensions appends the extensions in the order of their names, so that
// equal events have equal records.
func appendExtensions(dst []byte, ext map[string]any) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(ext)))
	names := make([]string, 0, 8)
	for name := range ext {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v, err := types.Validate(ext[name])
		if err != nil {
			return dst, fmt.Errorf("event record: extension %s: %w", name, err)
		}
		var kind byte
		switch v.(type) {
		case string:
			kind = kindString
		case bool:
			kind = kindBool
		case int32:
			kind = kindInteger
		case types.Timestamp:
			kind = kindTimestamp
		case types.URI:
			kind = kindURI
		case types.URIRef:
			kind = kindURIRef
		case []byte:
			kind = kindBinary
		default:
			return dst, fmt.Errorf("event record: extension %s: unexpected type %T", name, v)
		}
		text, err := types.Format(v)
		if err != nil {
			return dst, fmt.Errorf("event record: extension %s: %w", name, err)
		}
		dst = appendString(dst, name)
		dst = append(dst, kind)
		dst = appendString(dst, text)
	}
	return dst, nil
}

// FromRecord is the inverse of AppendRecord. The record is not kept.
func FromRecord(record []byte) (Event, error) {
	if len(record) < 2 || record[0] != recordVersion {
		return Event{}, errors.New("event record: unknown version")
	}
	flags := record[1]
	r := recordReader{rest: record[2:], size: len(record) - 2, text: string(record[2:min(len(record), maxText)])}
	c := &ce.EventContextV1{ID: r.string()}
	c.Source = types.URIRef{URL: r.url()}
	c.Type = r.string()
	c.Subject = r.optional()
	c.DataContentType = r.optional()
	if u := r.url(); u != (url.URL{}) {
		c.DataSchema = &types.URI{URL: u}
	}
	if flags&hasTime != 0 {
		sec, nano := r.varint(), r.uvarint()
		c.Time = &types.Timestamp{Time: time.Unix(sec, int64(nano)).UTC()}
	}
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		return Event{}, errors.New("event record: cut short")
	}
	if n > 0 {
		c.Extensions = make(map[string]any, n)
	}
	for range n {
		name := r.string()
		c.Extensions[name] = r.extension()
	}
	if r.err != nil {
		return Event{}, r.err
	}
	e := Event{Context: c, DataBase64: flags&dataBase64 != 0}
	if flags&hasData != 0 {
		e.DataEncoded = append(make([]byte, 0, len(r.rest)), r.rest...)
	}
	return e, nil
}

// maxText is how much of a record its attributes hold on to at most, in bytes.
const maxText = 1 << 10

// recordReader reads the parts of a record; after an error everything is zero.
type recordReader struct {
	rest []byte
	err  error
	// size is how long rest was at the beginning. The strings are parts of text,
	// which it begins with, as far as that goes: made once for all of them.
	size int
	text string
}

// fail records the first error and ends the reading.
func (r *recordReader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("event record: %w", err)
	}
	r.rest = nil
}

// uvarint reads an unsigned number.
func (r *recordReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail(errors.New("cut short"))
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// varint reads a signed number.
func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(errors.New("cut short"))
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// string reads a string.
func (r *recordReader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail(errors.New("cut short"))
		return ""
	}
	at, after := r.size-len(r.rest), r.size-len(r.rest)+int(n)
	s := ""
	if after <= len(r.text) {
		s = r.text[at:after]
	} else {
		s = string(r.rest[:n])
	}
	r.rest = r.rest[n:]
	return s
}

// optional reads a string of which "" means absent.
func (r *recordReader) optional() *string {
	if s := r.string(); s != "" {
		return &s
	}
	return nil
}

// url reads a URI or URI reference.
func (r *recordReader) url() url.URL {
	s := r.string()
	if s == "" {
		return url.URL{}
	}
	u, err := url.Parse(s)
	if err != nil {
		r.fail(err)
		return url.URL{}
	}
	return *u
}

// extension reads the kind and value of an extension attribute.
func (r *recordReader) extension() any {
	if len(r.rest) == 0 {
		r.fail(errors.New("cut short"))
		return nil
	}
	kind := r.rest[0]
	r.rest = r.rest[1:]
	text := r.string()
	var v any
	var err error
	switch kind {
	case kindString:
		return text
	case kindBool:
		v, err = types.ParseBool(text)
	case kindInteger:
		v, err = types.ParseInteger(text)
	case kindTimestamp:
		var t time.Time
		t, err = types.ParseTime(text)
		v = types.Timestamp{Time: t}
	case kindURI, kindURIRef:
		var u *url.URL
		if u, err = url.Parse(text); err == nil {
			v = types.URIRef{URL: *u}
			if kind == kindURI {
				v = types.URI{URL: *u}
			}
		}
	case kindBinary:
		v, err = types.ParseBinary(text)
	default:
		err = fmt.Errorf("extension of kind %d", kind)
	}
	if err != nil {
		r.fail(err)
		return nil
	}
	return v
}

// appendString appends a length and the bytes of s.
func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// deref is the string behind p, "" for nil.
func deref(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
