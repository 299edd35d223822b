package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"selvedge.dev/sdk/fault"
)

// version is the first byte of a record. A record is
//
//	version, project, bucket, log, time, received, insert id, severity,
//	resource type, resource labels, labels, trace, span id, flags,
//	type URL, data, wire, extra, origin, seq
//
// where texts and bytes are their length and themselves, a time is the seconds
// since 1970 and the nanoseconds, labels are how many and then keys and values
// by key, flags are the payload's kind and 16 if the trace was sampled, and
// numbers are varints, signed where they can be.
const version = 1

// sampled is the flag of Entry.TraceSampled.
const sampled = 1 << 4

// AppendRecord appends the entry as bytes, for journals. Equal entries have
// equal records.
func AppendRecord(to []byte, e *Entry) []byte {
	to = append(to, version)
	to = appendText(to, e.Project)
	to = appendText(to, e.Bucket)
	to = appendText(to, e.Log)
	to = appendTime(to, e.Time)
	to = appendTime(to, e.Received)
	to = appendText(to, e.InsertID)
	to = binary.AppendVarint(to, int64(e.Severity))
	to = appendText(to, e.ResourceType)
	to = appendLabels(to, e.ResourceLabels)
	to = appendLabels(to, e.Labels)
	to = appendText(to, e.Trace)
	to = appendText(to, e.SpanID)
	flags := byte(e.Payload.Kind)
	if e.TraceSampled {
		flags |= sampled
	}
	to = append(to, flags)
	to = appendText(to, e.Payload.TypeURL)
	to = appendText(to, e.Payload.Data)
	to = appendText(to, e.Payload.Wire)
	to = appendText(to, e.Extra)
	to = appendText(to, e.Origin)
	return binary.AppendUvarint(to, e.Seq)
}

// appendText appends a text with its length.
func appendText[T string | []byte](to []byte, text T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// appendTime appends a time.
func appendTime(to []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(to, t.Unix()), uint64(t.Nanosecond()))
}

// appendLabels appends labels.
func appendLabels(to []byte, labels map[string]string) []byte {
	to = binary.AppendUvarint(to, uint64(len(labels)))
	var few [16]string // most have no more, and take no memory
	keys := few[:0]
	for k := range labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		to = appendText(appendText(to, k), labels[k])
	}
	return to
}

// ParseRecord reads what AppendRecord has written. The entry has memory of its
// own, in one piece; what was empty is nil. A record that is torn or altered in a way that
// shows is an error, never a part of an entry.
func ParseRecord(record []byte) (Entry, error) {
	e, err := parseRecord(record)
	if err != nil {
		return Entry{}, &fault.Error{Op: "logstore.ParseRecord", Kind: fault.Invalid, Reason: "INVALID_RECORD", Err: err}
	}
	return e, nil
}

// parseRecord is ParseRecord with plain errors.
func parseRecord(record []byte) (Entry, error) {
	if len(record) == 0 || record[0] != version {
		return Entry{}, fmt.Errorf("a record of %d bytes is not of version %d", len(record), version)
	}
	r := reader{rest: bytes.Clone(record[1:])}
	var e Entry
	e.Project, e.Bucket, e.Log = r.text(), r.text(), r.text()
	e.Time, e.Received = r.time(), r.time()
	e.InsertID = r.text()
	severity := r.varint()
	e.Severity = Severity(severity)
	e.ResourceType = r.text()
	e.ResourceLabels, e.Labels = r.labels(), r.labels()
	e.Trace, e.SpanID = r.text(), r.text()
	flags := r.byte()
	e.Payload.Kind, e.TraceSampled = Kind(flags&^sampled), flags&sampled != 0
	e.Payload.TypeURL = r.text()
	e.Payload.Data, e.Payload.Wire, e.Extra = r.bytes(), r.bytes(), r.bytes()
	e.Origin, e.Seq = r.text(), r.uvarint()
	switch {
	case r.err != nil:
		return e, r.err
	case len(r.rest) > 0:
		return e, fmt.Errorf("%d bytes follow the record", len(r.rest))
	case int64(e.Severity) != severity || e.Payload.Kind > Bytes:
		return e, fmt.Errorf("no severity %d or no kind of payload %d", severity, e.Payload.Kind)
	}
	return e, nil
}

// errTorn is the error of a record that ends too early.
var errTorn = errors.New("the record ends too early")

// reader reads the parts of a record. After its first error it gives nothing.
type reader struct {
	rest []byte
	err  error
}

// take takes n bytes.
func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.rest)) {
		r.fail(errTorn)
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// fail keeps the first error.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// byte reads a byte.
func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number.
func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || size > 1 && r.rest[size-1] == 0 { // a longer form than was written
		r.fail(errTorn)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// varint reads a signed number.
func (r *reader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// text reads a text.
func (r *reader) text() string { return view(r.bytes()) }

// bytes reads bytes, nil if there are none.
func (r *reader) bytes() []byte {
	taken := r.take(r.uvarint())
	if len(taken) == 0 {
		return nil
	}
	return taken[:len(taken):len(taken)]
}

// time reads a time.
func (r *reader) time() time.Time {
	seconds, nanoseconds := r.varint(), r.uvarint()
	if nanoseconds >= uint64(time.Second) {
		r.fail(errors.New("a time has too many nanoseconds"))
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}

// labels reads labels, nil if there are none.
func (r *reader) labels() map[string]string {
	n := r.uvarint()
	if n == 0 || n > uint64(len(r.rest)) { // each takes two bytes or more
		if n > 0 {
			r.fail(errTorn)
		}
		return nil
	}
	labels := make(map[string]string, n)
	last := ""
	for i := range n {
		k := r.text()
		if i > 0 && k <= last {
			r.fail(errors.New("labels are not in order"))
		}
		if r.err != nil {
			return nil
		}
		labels[k], last = r.text(), k
	}
	return labels
}
