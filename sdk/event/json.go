package event

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/jsonscan"
)

// malformed is the fault of text that is not a JSON event at all.
func malformed(err error) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return err
	}
	return &fault.Error{Op: "event.Decode", Kind: fault.Invalid, Reason: "INVALID_JSON", Field: "body", Err: err}
}

// errNotUTF8 is why text is no JSON that has any other encoding.
var errNotUTF8 = errors.New("the text is not UTF-8")

// FromJSON decodes one event in the JSON format of CloudEvents 1.0. The text
// is not kept. A fault names the attribute that is wrong, and comes with the
// attributes that were read before it, so that a report can name the event.
// Unlike the SDK's decoder it also refuses data that is not valid JSON,
// attribute values of no CloudEvents type, and members that are there twice.
func FromJSON(text []byte) (Event, error) {
	d := jsonDecoder{in: jsonscan.New(text), builder: &builder{}}
	if !utf8.Valid(text) {
		return Event{Context: &d.builder.ctx}, malformed(errNotUTF8)
	}
	err := d.in.Object(d.member)
	if err == nil {
		err = d.in.End()
	}
	if err != nil {
		return Event{Context: &d.builder.ctx}, malformed(err)
	}
	e, err := d.builder.event()
	if err == nil {
		err = d.setData(&e)
	}
	return e, err
}

// checkJSON is an error unless text is a JSON text.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	in := jsonscan.New(text)
	if err := in.Skip(); err != nil {
		return err
	}
	return in.End()
}

// SplitJSON splits the JSON batch format into the texts of its events, which
// are parts of text. An error means that text is no JSON array; what an
// element holds is not looked at beyond its syntax.
func SplitJSON(text []byte) ([][]byte, error) {
	in := jsonscan.New(text)
	var items [][]byte
	err := in.Array(func() error {
		item, err := in.Value()
		items = append(items, item)
		return err
	})
	if err == nil {
		err = in.End()
	}
	if err != nil {
		return nil, malformed(err)
	}
	return items, nil
}

// jsonDecoder is one pass over the members of an event object.
type jsonDecoder struct {
	in jsonscan.Scanner
	// builder is apart, so that the event that it becomes holds on to nothing
	// else of the decoder, above all not to the text.
	builder *builder
	// data and base64 are the raw texts of the two data members.
	data, base64 []byte
	// seen has a bit for every attribute of seenNames that was there.
	seen uint16
}

// seenNames are the members that may be there once; a second extension of one
// name is found in the extensions themselves.
var seenNames = [...]string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64"}

// member consumes the member with the given name.
func (d *jsonDecoder) member(key []byte) error {
	name, err := d.once(key)
	if err != nil {
		return err
	}
	text, err := d.in.Value()
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
		return d.builder.set(name, string(unquote(text)))
	}
	return d.scalar(name, text)
}

// unquote is the string that text, a JSON string with its quotes, stands for.
func unquote(text []byte) []byte { return jsonscan.Unquote(text[1 : len(text)-1]) }

// once is the name that key says, or an error when a member of that name was
// there before.
func (d *jsonDecoder) once(key []byte) (string, error) {
	for i, name := range seenNames {
		if name != string(key) {
			continue
		}
		if d.seen&(1<<i) != 0 {
			return "", invalid(name, "is there twice")
		}
		d.seen |= 1 << i
		return name, nil
	}
	name := string(key)
	if _, twice := d.builder.ctx.Extensions[name]; twice {
		return "", invalid(name, "is there twice")
	}
	return name, nil
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
		data, err := base64.StdEncoding.DecodeString(string(unquote(d.base64)))
		if err != nil {
			return invalid("data_base64", "%w", err)
		}
		e.DataEncoded, e.DataBase64 = data, true
	case d.data == nil:
	case isJSON(e.DataContentType()):
		e.DataEncoded = bytes.Clone(d.data)
	case d.data[0] == '"':
		e.DataEncoded = bytes.Clone(unquote(d.data))
	default:
		return invalid("data", "must be a string for the content type %q", e.DataContentType())
	}
	return nil
}
