package schedulerv1

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// MaxData bounds the data of an event.
const MaxData = 64 << 10

// The bounds of durations. A period of less than a second is a stream, not a
// timer; more than a day of jitter is another schedule; a slot that is an hour
// late is not on time.
const (
	MinPeriod = time.Second
	MaxJitter = 24 * time.Hour
	MaxGrace  = time.Hour
)

// Check returns an Invalid fault with the field at fault, or nil. Whether the
// expression of a cron is one is for the service to say.
func (t *Timer) Check() error {
	switch s := t.GetSchedule().(type) {
	case nil:
		return invalid("schedule", "one of at, interval and cron is needed")
	case *Timer_At:
		if err := s.At.CheckValid(); err != nil {
			return invalid("at", "%w", err)
		}
	case *Timer_Interval:
		if err := within("interval.period", s.Interval.GetPeriod(), MinPeriod, 1<<63-1); err != nil {
			return err
		}
		if a := s.Interval.GetAnchor(); a != nil && a.CheckValid() != nil {
			return invalid("interval.anchor", "%w", a.CheckValid())
		}
	}
	if t.GetEndTime() != nil && t.GetEndTime().CheckValid() != nil {
		return invalid("end_time", "%w", t.GetEndTime().CheckValid())
	}
	if err := within("jitter", t.GetJitter(), 0, MaxJitter); err != nil {
		return err
	}
	if err := within("missed.grace", t.GetMissed().GetGrace(), 0, MaxGrace); err != nil {
		return err
	}
	return t.GetEvent().check()
}

// within checks the bounds of a duration that may be absent.
func within(field string, d *durationpb.Duration, low, high time.Duration) error {
	if err := d.CheckValid(); d != nil && err != nil {
		return invalid(field, "%w", err)
	}
	if v := d.AsDuration(); v < low || v > high {
		return invalid(field, "%s is not between %s and %s", v, low, high)
	}
	return nil
}

// extensionName is the form of the names of extension attributes.
var extensionName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// pingSource is the form of the source of a PingSource.
var pingSource = regexp.MustCompile(`^/apis/v1/namespaces/[a-z0-9.-]+/pingsources/[a-z0-9.-]+$`)

// taken are the names of attributes that an event has by itself.
var taken = []string{"id", "source", "type", "specversion", "time", "subject", "datacontenttype", "dataschema", "data", Slot, MissedSlots}

// check checks an event that is to be posted.
func (e *TimerEvent) check() error {
	// As the proto file says; not everybody who sets timers passes by that.
	switch {
	case e.GetType() == "" || len(e.GetType()) > 255:
		return invalid("event.type", "an event has a type of at most 255 bytes")
	case len(e.GetSubject()) > 1024:
		return invalid("event.subject", "a subject has at most 1024 bytes")
	case len(e.GetData()) > MaxData || len(e.GetDataBase64()) > MaxData:
		return invalid("event.data", "the data has at most %d bytes", MaxData)
	case len(e.GetExtensions()) > 20:
		return invalid("event.extensions", "an event has at most 20 of them")
	}
	for name, value := range map[string]string{"type": e.GetType(), "subject": e.GetSubject(), "data_content_type": e.GetDataContentType()} {
		if !plain(value) {
			return invalid("event."+name, "it holds what no attribute of an event may")
		}
	}
	for name, value := range e.GetExtensions() {
		switch {
		case !extensionName.MatchString(name), slices.Contains(taken, name):
			return invalid("event.extensions", "%q is not a name for an extension attribute", name)
		case strings.HasPrefix(name, event.Reserved):
			return invalid("event.extensions", "%s is the platform's own", name)
		case value == "" || len(value) > 4096 || !plain(value):
			return invalid("event.extensions", "the value of %s is empty, too long, or holds what no attribute may", name)
		}
	}
	if s := e.GetPingSource(); s != "" && !pingSource.MatchString(s) {
		return invalid("event.ping_source", "%q is not the source of a PingSource", s)
	}
	if t := e.GetDataContentType(); t != "" {
		if _, _, err := mime.ParseMediaType(t); err != nil {
			return invalid("event.data_content_type", "%q is not a media type", t)
		}
	}
	if c, text := e.GetContent().(*TimerEvent_Data); text && e.IsJSON() && !json.Valid([]byte(c.Data)) {
		return invalid("event.data", "the data is not JSON, which its media type says")
	}
	return nil
}

// IsJSON reports whether the data is JSON.
func (e *TimerEvent) IsJSON() bool {
	t, _, _ := mime.ParseMediaType(e.GetDataContentType())
	return e.GetDataContentType() == "" || strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}

// plain reports whether the text can be the value of an attribute.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r <= 0x9f || r == utf8.RuneError
	})
}

// invalid is the fault of a timer.
func invalid(field, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return &fault.Error{Op: "scheduler.Timer", Kind: fault.Invalid, Reason: "INVALID_TIMER", Field: field, Err: err}
}
