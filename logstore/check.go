package logstore

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
)

// The bounds of an entry. Those of size and of labels are Google's
// (cloud.google.com/logging/quotas).
const (
	// MaxSize is the most that Entry.Size may be.
	MaxSize = 256 << 10
	// MaxLabels is the most labels of a writer, and of a resource.
	MaxLabels = 64
	// MaxLabelKey and MaxLabelValue are the most bytes of a label.
	MaxLabelKey, MaxLabelValue = 512, 64 << 10
	// MaxID is the most bytes of a log's id and of the other names.
	MaxID = 512
)

// Entries happen from 1970 to before the year 2262, where nanoseconds since
// 1970 end that have 64 bits.
var (
	minTime = time.Unix(0, 0)
	maxTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Check is an error that names the field at fault if the entry is not valid.
// Origin and Seq are not looked at: they come later.
func (e *Entry) Check() error {
	if field, err := e.check(); err != nil {
		return &fault.Error{Op: "logstore.Check", Kind: fault.Invalid, Reason: "INVALID_ENTRY", Field: field, Err: err}
	}
	if n := e.Size(); n > MaxSize {
		return &fault.Error{Op: "logstore.Check", Kind: fault.TooLarge, Reason: "ENTRY_TOO_LARGE", Err: fmt.Errorf("the entry has %d bytes, the most are %d", n, MaxSize)}
	}
	return nil
}

// check gives the first field that is wrong, and why.
func (e *Entry) check() (string, error) {
	for _, c := range []struct {
		field string
		err   error
	}{
		{"project", checkID(e.Project, true)},
		{"bucket", checkID(e.Bucket, true)},
		{"logName", checkLog(e.Log)},
		{"timestamp", checkTime(e.Time)},
		{"receiveTimestamp", checkTime(e.Received)},
		{"insertId", checkID(e.InsertID, true)},
		{"severity", checkSeverity(e.Severity)},
		{"resource.type", checkID(e.ResourceType, false)},
		{"resource.labels", checkLabels(e.ResourceLabels)},
		{"labels", checkLabels(e.Labels)},
		{"trace", checkID(e.Trace, false)},
		{"spanId", checkID(e.SpanID, false)},
	} {
		if c.err != nil {
			return c.field, c.err
		}
	}
	if field, err := e.Payload.check(); err != nil {
		return field, err
	}
	return e.checkExtra()
}

// checkID checks a name of any form.
func checkID(id string, needed bool) error {
	switch {
	case id == "" && needed:
		return errors.New("is missing")
	case len(id) > MaxID:
		return fmt.Errorf("has %d bytes, the most are %d", len(id), MaxID)
	case visible(id):
		return nil
	case !utf8.ValidString(id):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("has a control character")
	}
	return nil
}

// visible reports whether a text is of ASCII that can be seen, as most names are:
// that is told sooner than what else is allowed.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// checkLog checks a log's id: letters, digits and / _ - . as Google has it.
func checkLog(id string) error {
	if err := checkID(id, true); err != nil {
		return err
	}
	bad := strings.IndexFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/_-.", r))
	})
	if bad >= 0 {
		r, _ := utf8.DecodeRuneInString(id[bad:])
		return fmt.Errorf("the log's id has %q: only letters, digits, /, _, - and dots may be in it", r)
	}
	return nil
}

// checkTime checks when something was.
func checkTime(t time.Time) error {
	switch {
	case t.IsZero():
		return errors.New("is missing")
	case t.Before(minTime) || !t.Before(maxTime):
		return fmt.Errorf("%s is before 1970 or after 2261", t.Format(time.RFC3339))
	case t.Location() != time.UTC:
		return errors.New("is not in UTC")
	}
	return nil
}

// checkSeverity checks a severity.
func checkSeverity(s Severity) error {
	if s < 0 || s > 999 {
		return fmt.Errorf("%d is no severity: they are 0 to 999", s)
	}
	return nil
}

// checkLabels checks labels.
func checkLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("there are %d labels, the most are %d", len(labels), MaxLabels)
	}
	for k, v := range labels {
		switch {
		case len(k) > MaxLabelKey:
			return fmt.Errorf("a key has %d bytes, the most are %d", len(k), MaxLabelKey)
		case len(v) > MaxLabelValue:
			return fmt.Errorf("the value of %q has %d bytes, the most are %d", k, len(v), MaxLabelValue)
		case k == "":
			return errors.New("a key is empty")
		case !visible(k) && (!utf8.ValidString(k) || strings.ContainsFunc(k, unicode.IsControl)):
			return fmt.Errorf("the key %q is not UTF-8 or has a control character", k)
		case !utf8.ValidString(v):
			return fmt.Errorf("the value of %q is not UTF-8", k)
		}
	}
	return nil
}

// check gives the field of a payload that is wrong, and why.
func (p *Payload) check() (string, error) {
	if p.Kind != Proto && (p.TypeURL != "" || len(p.Wire) > 0) {
		return "payload", errors.New("only a protoPayload has a type and an encoding")
	}
	switch p.Kind {
	case 0:
		if len(p.Data) > 0 {
			return "payload", errors.New("there is one without its kind")
		}
		return "", nil
	case Text:
		if !utf8.Valid(p.Data) {
			return "textPayload", errors.New("is not UTF-8")
		}
		return "", nil
	case JSON:
		return "jsonPayload", checkJSON(p.Data, nil)
	case Proto:
		switch {
		case p.TypeURL == "":
			return "protoPayload.@type", errors.New("is missing")
		case len(p.Data) > 0 && len(p.Wire) > 0:
			return "protoPayload", errors.New("is there twice: as JSON and encoded")
		case len(p.Data) > 0:
			if err := checkJSON(p.Data, nil); err != nil {
				return "protoPayload", err
			}
		}
		return "protoPayload.@type", checkID(p.TypeURL, true)
	case Bytes:
		return "", nil
	}
	return "payload", fmt.Errorf("%d is no kind of payload", p.Kind)
}

// checkExtra checks Extra.
func (e *Entry) checkExtra() (string, error) {
	if len(e.Extra) == 0 {
		return "", nil
	}
	if err := checkJSON(e.Extra, extras); err != nil {
		return "extra", err
	}
	return "", nil
}

// extras are the members that Extra may have.
var extras = []string{"httpRequest", "operation", "sourceLocation", "split", "errorGroups"}

// Size is about how many bytes the entry takes: those of everything that
// differs from entry to entry.
func (e *Entry) Size() int {
	const fixed = 32 // times, severity, Seq, the kind
	n := fixed + len(e.Project) + len(e.Bucket) + len(e.Log) + len(e.InsertID) + len(e.ResourceType) + len(e.Trace) + len(e.SpanID) +
		len(e.Payload.TypeURL) + len(e.Payload.Data) + len(e.Payload.Wire) + len(e.Extra) + len(e.Origin)
	for _, labels := range []map[string]string{e.ResourceLabels, e.Labels} {
		for k, v := range labels {
			n += len(k) + len(v)
		}
	}
	return n
}
