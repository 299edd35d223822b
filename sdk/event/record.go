package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"

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
	dst = appendURL(dst, &c.Source.URL)
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
	var few [8]string
	names := few[:0]
	for name := range ext {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if text, is := ext[name].(string); is {
			dst = appendString(append(appendString(dst, name), kindString), text)
			continue
		}
		v, err := types.Validate(ext[name])
		if err != nil {
			return dst, fmt.Errorf("event record: extension %s: %w", name, err)
		}
		var kind byte
		switch v.(type) {
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
	h, err := ReadHead(record)
	if err != nil {
		return Event{}, err
	}
	return h.Event(0)
}

// unreadable is the error of a record with a part that says nothing.
func unreadable(err error) error { return fmt.Errorf("event record: %w", err) }

// parseExtension is the value of an extension attribute of that kind with that
// canonical text.
func parseExtension(kind byte, text string) (any, error) {
	switch kind {
	case kindString:
		return text, nil
	case kindBool:
		return types.ParseBool(text)
	case kindInteger:
		return types.ParseInteger(text)
	case kindTimestamp:
		t, err := types.ParseTime(text)
		return types.Timestamp{Time: t}, err
	case kindURI, kindURIRef:
		u, err := url.Parse(text)
		switch {
		case err != nil:
			return nil, err
		case kind == kindURI:
			return types.URI{URL: *u}, nil
		}
		return types.URIRef{URL: *u}, nil
	case kindBinary:
		return types.ParseBinary(text)
	}
	return nil, fmt.Errorf("extension of kind %d", kind)
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
