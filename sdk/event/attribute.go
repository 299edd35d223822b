package event

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"selvedge.dev/sdk/fault"
)

// formatAttribute is the canonical string of an attribute value
// (CloudEvents 1.0, "Type System").
func formatAttribute(v any) (string, error) { return types.Format(v) }

// invalid is the fault of an attribute that breaks the CloudEvents
// specification; the ingress answers it as 400 with the attribute's name.
func invalid(attribute, format string, args ...any) error {
	return &fault.Error{
		Op: "event.Decode", Kind: fault.Invalid, Reason: "INVALID_EVENT", Field: attribute,
		Err: fmt.Errorf(attribute+": "+format, args...),
	}
}

// builder collects the attributes of one event and checks each as it comes.
type builder struct {
	ctx         ce.EventContextV1
	specversion bool
}

// set gives the attribute its value as text, as HTTP headers and JSON strings
// carry it. An attribute that CloudEvents does not define is an extension.
func (b *builder) set(name, value string) error {
	if err := checkString(name, value); err != nil {
		return err
	}
	switch name {
	case "specversion":
		if value != ce.CloudEventsVersionV1 {
			return invalid(name, "%q is not spoken here, only %q", value, ce.CloudEventsVersionV1)
		}
		b.specversion = true
	case "id":
		b.ctx.ID = value
	case "type":
		b.ctx.Type = value
	case "source":
		if err := parseURL(&b.ctx.Source.URL, value); err != nil {
			return invalid(name, "%q is not a URI reference", value)
		}
	case "subject":
		b.ctx.Subject = &value
	case "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return invalid(name, "%q is not an RFC 3339 timestamp", value)
		}
		b.ctx.Time = &types.Timestamp{Time: t}
	case "datacontenttype":
		if value != ce.ApplicationJSON {
			if _, _, err := mime.ParseMediaType(value); err != nil {
				return invalid(name, "%q is not a media type", value)
			}
		}
		b.ctx.DataContentType = &value
	case "dataschema":
		u, err := url.Parse(value)
		if err != nil || !u.IsAbs() {
			return invalid(name, "%q is not an absolute URI", value)
		}
		b.ctx.DataSchema = &types.URI{URL: *u}
	default:
		return b.extend(name, value)
	}
	return nil
}

// extend sets an extension attribute to a value of a CloudEvents type.
func (b *builder) extend(name string, value any) error {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return invalid(name, "attribute names are lower-case letters and digits")
		}
	}
	if name == "" || name == "data" {
		return invalid(name, "is not a name for an attribute")
	}
	if b.ctx.Extensions == nil {
		b.ctx.Extensions = make(map[string]any, 4)
	}
	b.ctx.Extensions[name] = value
	return nil
}

// event is the event as far as it was read, with the fault of what it lacks.
func (b *builder) event() (Event, error) {
	e := Event{Context: &b.ctx}
	switch {
	case !b.specversion:
		return e, invalid("specversion", "is required")
	case b.ctx.ID == "":
		return e, invalid("id", "is required and must not be empty")
	case b.ctx.Source == types.URIRef{}:
		return e, invalid("source", "is required and must not be empty")
	case b.ctx.Type == "":
		return e, invalid("type", "is required and must not be empty")
	}
	return e, nil
}

// maxAttribute bounds one attribute value, in bytes. CloudEvents asks for the
// support of events of 64 KiB in all; one attribute of half of that is beyond
// any use and still fits the headers of a binary-mode request.
const maxAttribute = 32 << 10

// The reasons for which a string is refused. What is no Unicode was replaced
// by U+FFFD on the way, and so two ids that differ could become equal, and one
// event the duplicate of another.
var (
	errControl  = errors.New("holds a control character or is not UTF-8")
	errReplaced = errors.New("holds U+FFFD, or half a surrogate pair, which is no Unicode")
)

// checkString applies what CloudEvents demands of every attribute value of
// type String, and what keeps a value from splitting a header.
func checkString(name, value string) error {
	if value == "" {
		return invalid(name, "must not be empty")
	}
	if len(value) > maxAttribute {
		return invalid(name, "is over %d bytes", maxAttribute)
	}
	if printable(value) {
		return nil
	}
	if strings.IndexFunc(value, func(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }) >= 0 || !utf8.ValidString(value) {
		return invalid(name, "%w", errControl)
	}
	if strings.ContainsRune(value, utf8.RuneError) {
		return invalid(name, "%w", errReplaced)
	}
	return nil
}

// printable reports whether value is nothing but printable ASCII, as nearly all
// are.
func printable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// isJSON reports whether data of this media type is JSON as CloudEvents
// defines it: no type, a subtype of json, or a suffix of +json.
func isJSON(mediaType string) bool {
	if mediaType == "" || mediaType == ce.ApplicationJSON {
		return true
	}
	t, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json"))
}
