package event

import (
	"encoding/base64"
	"errors"
	"strconv"

	"selvedge.dev/sdk/fault"
)

// malformed is the fault of text that is not a JSON event at all.
func malformed(err error) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return err
	}
	return &fault.Error{Op: "event.Decode", Kind: fault.Invalid, Reason: "INVALID_JSON", Field: "body", Err: err}
}

// FromJSON decodes one event in the JSON format of CloudEvents 1.0. The text
// is not kept. A fault names the attribute that is wrong, and comes with the
// attributes that were read before it, so that a report can name the event.
// Unlike the SDK's decoder it also refuses data that is not valid JSON,
// attribute values of no CloudEvents type, and members that are there twice.
func FromJSON(text []byte) (Event, error) {
	s := scanner{b: text}
	d := jsonDecoder{s: &s}
	partial := Event{Context: &d.builder.ctx}
	if s.peek() != '{' {
		return partial, malformed(s.syntax("an event object"))
	}
	if err := s.members(true, d.member); err != nil {
		return partial, malformed(err)
	}
	if err := s.end(); err != nil {
		return partial, malformed(err)
	}
	e, err := d.builder.event()
	if err == nil {
		err = d.setData(&e)
	}
	return e, err
}

// SplitJSON splits the JSON batch format into the texts of its events, which
// are parts of text. An error means that text is no JSON array; what an
// element holds is not looked at beyond its syntax.
func SplitJSON(text []byte) ([][]byte, error) {
	s := scanner{b: text}
	if s.peek() != '[' {
		return nil, malformed(s.syntax("an array of events"))
	}
	var items [][]byte
	err := s.members(false, func([]byte) error {
		item, err := s.value(1)
		items = append(items, item)
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, malformed(err)
	}
	return items, nil
}

// jsonDecoder is one pass over the members of an event object.
type jsonDecoder struct {
	s       *scanner
	builder builder
	// data and base64 are the raw texts of the two data members.
	data, base64 []byte
	// seen has a bit for every attribute of seenNames that was there.
	seen uint16
}

// seenNames are the members that may be there once; a second extension of one
// name is found in the extensions themselves.
var seenNames = [...]string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"}

// member consumes the member with the given raw name.
func (d *jsonDecoder) member(key []byte) error {
	name, err := unquote(key)
	if err != nil {
		return err
	}
	if err := d.once(name); err != nil {
		return err
	}
	d.s.peek()
	text, err := d.s.value(1)
	if err != nil {
		return err
	}
	switch {
	case name == "data":
		d.data = text
		return nil
	case string(text) == "null":
		return nil // CloudEvents JSON format 2.2: null is the same as absent
	case name == "data_base64":
		d.base64 = text
		return nil
	case text[0] == '"':
		value, err := unquote(text[1 : len(text)-1])
		if err != nil {
			return invalid(name, "%w", err)
		}
		return d.builder.set(name, value)
	}
	return d.scalar(name, text)
}

// once is an error when the member name was there before.
func (d *jsonDecoder) once(name string) error {
	for i, n := range seenNames {
		if n != name {
			continue
		}
		if d.seen&(1<<i) != 0 {
			return invalid(name, "is there twice")
		}
		d.seen |= 1 << i
		return nil
	}
	if _, twice := d.builder.ctx.Extensions[name]; twice {
		return invalid(name, "is there twice")
	}
	return nil
}

// scalar sets an extension to a JSON boolean or integer.
func (d *jsonDecoder) scalar(name string, text []byte) error {
	for _, n := range seenNames {
		if n == name {
			return invalid(name, "must be a string")
		}
	}
	switch text[0] {
	case 't', 'f':
		return d.builder.extend(name, text[0] == 't')
	case '{', '[':
		return invalid(name, "an attribute is a string, a boolean or an integer")
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		return invalid(name, "%s is not a 32-bit integer", text)
	}
	return d.builder.extend(name, int32(n))
}

// setData gives e its data, whose form depends on the content type.
func (d *jsonDecoder) setData(e *Event) error {
	switch {
	case d.data != nil && d.base64 != nil:
		return invalid("data_base64", "and data exclude each other")
	case d.base64 != nil:
		if d.base64[0] != '"' {
			return invalid("data_base64", "must be a string")
		}
		raw, err := unquote(d.base64[1 : len(d.base64)-1])
		if err != nil {
			return invalid("data_base64", "%w", err)
		}
		data, err := base64.StdEncoding.DecodeString(raw)
		if err != nil {
			return invalid("data_base64", "%w", err)
		}
		e.DataEncoded, e.DataBase64 = data, true
	case d.data == nil:
	case isJSON(e.DataContentType()):
		e.DataEncoded = append([]byte(nil), d.data...)
	case d.data[0] == '"':
		text, err := unquote(d.data[1 : len(d.data)-1])
		if err != nil {
			return invalid("data", "%w", err)
		}
		e.DataEncoded = []byte(text)
	default:
		return invalid("data", "must be a string for the content type %q", e.DataContentType())
	}
	return nil
}
