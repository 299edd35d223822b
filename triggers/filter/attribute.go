package filter

import (
	"fmt"
	"strconv"

	"selvedge.dev/sdk/event"
)

// attribute is the text of the attribute name of e that exact, prefix and
// suffix compare; false means that e does not have it. An extension that is
// not a string is compared as Go prints it, which is what Knative does and is
// not always the canonical text of CloudEvents: bytes are "[1 2]".
func attribute(e *event.Event, name string) (string, bool) {
	if text, ok, known := contextAttribute(e, name); known {
		return text, ok
	}
	v, ok := event.Value(e, name)
	if !ok {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int32:
		return strconv.Itoa(int(v)), true
	default:
		return fmt.Sprint(v), true
	}
}

// contextAttribute is the context attribute name of e; known is false when the
// name can only be an extension's. The names are those of specification
// versions 1.0 and 0.3, whatever the version of e.
//
// An optional attribute that is not set is the empty string and exists, with
// one oddity kept from Knative: a time that is not set is the zero time,
// "0001-01-01T00:00:00Z". A time that RFC 3339 cannot say does not exist.
func contextAttribute(e *event.Event, name string) (text string, ok, known bool) {
	switch name {
	case "specversion":
		return e.SpecVersion(), true, true
	case "type":
		return e.Type(), true, true
	case "source":
		return e.Source(), true, true
	case "subject":
		return e.Subject(), true, true
	case "id":
		return e.ID(), true, true
	case "time":
		b, err := e.Time().MarshalText()
		return string(b), err == nil, true
	case "dataschema", "schemaurl":
		return e.DataSchema(), true, true
	case "datacontenttype":
		return e.DataContentType(), true, true
	case "datamediatype":
		return e.DataMediaType(), true, true
	case "datacontentencoding":
		return e.DeprecatedDataContentEncoding(), true, true
	}
	return "", false, false
}
