package reason

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/outbox"
)

// The bounds of a reply: how many events it posts, and the data of one.
const (
	maxEvents = 20
	maxData   = 1 << 20
)

// outcome is what a function wants.
type outcome struct {
	// changed is whether the message has other data: those.
	changed bool
	data    content
	// drop is whether it ends here, events are to be posted.
	drop   bool
	events []event.Event
}

// content is the data of an event: as bytes, or as the text that it is.
type content struct {
	mediaType string
	data      []byte
	binary    bool
}

// put makes it the data of an event.
func (c content) put(e *event.Event) error {
	err := e.SetData(c.mediaType, c.data)
	e.DataBase64 = c.binary
	return err
}

// malformed is the fault of a reply.
func malformed(format string, args ...any) error {
	return refuse("MALFORMED_REPLY", fmt.Errorf(format, args...))
}

// read reads the reply of a script's function to e, nil for none: a reasonv1.Reply,
// an event of e's type, whose data replaces that of e, or any other event, which
// is posted.
func read(s *reasonv1.Script, e, reply *event.Event) (out outcome, err error) {
	switch {
	case reply == nil:
		return outcome{}, nil
	case len(reply.Data()) > maxData:
		return outcome{}, malformed("the reply has more than %d bytes", maxData)
	case reply.Type() == reasonv1.TypeReply:
		return readReply(s, e, reply.Data())
	case reply.Type() == e.Type():
		return outcome{changed: true, data: contentOf(reply)}, nil
	}
	extensions := map[string]string{}
	for name := range reply.Extensions() {
		if free(name) {
			extensions[name] = event.Extension(reply, name)
		}
	}
	posted, err := post(s, e, reasonv1.Event{Type: reply.Type(), Subject: reply.Subject(), Extensions: extensions}, 0)
	if err != nil {
		return outcome{}, err
	}
	if len(reply.Data()) > 0 {
		err = contentOf(reply).put(&posted)
	}
	return outcome{events: []event.Event{posted}}, err
}

// readReply reads a reasonv1.Reply.
func readReply(s *reasonv1.Script, e *event.Event, data []byte) (out outcome, err error) {
	var r struct {
		reasonv1.Reply
		// Data is as it is written, since what is null is data too.
		Data json.RawMessage `json:"data"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return outcome{}, malformed("the reply: %w", err)
	}
	if len(r.Events) > maxEvents {
		return outcome{}, malformed("more than %d events", maxEvents)
	}
	out.drop = r.Drop
	if r.Data != nil {
		out.changed, out.data = true, content{"application/json", r.Data, false}
	}
	for i, x := range r.Events {
		posted, err := post(s, e, x, i)
		if err == nil && x.Data != nil {
			err = posted.SetData("application/json", x.Data)
		}
		if err != nil {
			return outcome{}, malformed("the event %d: %w", i, err)
		}
		out.events = append(out.events, posted)
	}
	return out, nil
}

// contentOf is the data of an event, JSON if it does not say what it is.
func contentOf(e *event.Event) content {
	return content{cmp.Or(e.DataContentType(), "application/json"), e.Data(), e.DataBase64}
}

// extensionName is the form of the names of attributes.
var extensionName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// core are the names that are no extension's.
var core = []string{"id", "source", "type", "specversion", "time", "subject", "datacontenttype", "dataschema", "data"}

// free reports whether an attribute is the function's to set.
func free(name string) bool {
	return extensionName.MatchString(name) && !slices.Contains(core, name) && !strings.HasPrefix(name, event.Reserved) && !strings.HasPrefix(name, "reason") && name != event.ArrivalTime
}

// post is an event of a script that answers e. Its id follows from e's, so that
// it counts once, and where it belongs, from e too.
func post(s *reasonv1.Script, e *event.Event, x reasonv1.Event, part int) (event.Event, error) {
	out := event.New()
	out.SetID(outbox.ID(e.Source(), e.ID(), strconv.Itoa(part)))
	out.SetSource(event.Source(s.GetName()))
	if x.Type == "" {
		return out, malformed("it has no type")
	}
	out.SetType(x.Type)
	if x.Subject != "" {
		out.SetSubject(x.Subject)
	}
	out.SetTime(time.Now())
	for name, value := range x.Extensions {
		if !free(name) {
			return out, malformed("the attribute %.40q is not the function's to set", name)
		}
		if value != "" {
			out.SetExtension(name, value)
		}
	}
	out.SetExtension(event.Project, event.Extension(e, event.Project))
	n, _ := strconv.Atoi(event.Extension(e, depth))
	out.SetExtension(depth, strconv.Itoa(n+1))
	if d := event.Extension(e, event.Device); d != "" {
		out.SetExtension(event.Device, d)
	}
	return out, out.Validate()
}
