package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"

	"selvedge.dev/sdk/event"
)

// A journal record is an envelope around the record form of an event:
//
//	version 1 byte | origin 1 byte | key 16 bytes | hops 1 byte | arrival varint ms | event
const envelopeVersion = 1

// The origins of an event, each with a duplicate window of its own: replies of
// functions must not push what devices sent out of the window.
const (
	fromOutside origin = iota
	fromReply
	origins
)

// origin is where an event came from.
type origin byte

// maxHops is how many times an event and its replies may pass the broker
// before it is taken for a loop, as on Knative.
const maxHops = 255

// envelope is what the broker knows about an event.
type envelope struct {
	origin  origin
	key     key
	hops    byte
	arrival time.Time
	event   *event.Event
	// record is the journal record, if it was made already.
	record []byte
}

// append appends the journal record of v to dst.
func (v *envelope) append(dst []byte) ([]byte, error) {
	if v.record != nil {
		return append(dst, v.record...), nil
	}
	dst = append(dst, envelopeVersion, byte(v.origin))
	dst = append(dst, v.key[:]...)
	dst = append(dst, v.hops)
	dst = binary.AppendVarint(dst, v.arrival.UnixMilli())
	return event.AppendRecord(dst, v.event)
}

// headerLen is the length of an envelope up to the arrival time.
const headerLen = 3 + len(key{})

// parseKey reads only what the duplicate window needs from a record.
func parseKey(record []byte) (origin, key, error) {
	if len(record) < headerLen || record[0] != envelopeVersion || record[1] >= byte(origins) {
		return 0, key{}, errors.New("journal record: not an envelope")
	}
	return origin(record[1]), key(record[2 : 2+len(key{})]), nil
}

// parseEnvelope is the inverse of append.
func parseEnvelope(record []byte) (*envelope, error) {
	o, k, err := parseKey(record)
	if err != nil {
		return nil, err
	}
	ms, n := binary.Varint(record[headerLen:])
	if n <= 0 {
		return nil, errors.New("journal record: cut short")
	}
	e, err := event.FromRecord(record[headerLen+n:])
	if err != nil {
		return nil, fmt.Errorf("journal record: %w", err)
	}
	return &envelope{origin: o, key: k, hops: record[headerLen-1], arrival: time.UnixMilli(ms).UTC(), event: &e}, nil
}

// copy is the subscriber's own copy of the event, with the arrival time.
func (v *envelope) copy() event.Event {
	e := event.Clone(v.event)
	e.SetExtension(event.ArrivalTime, types.Timestamp{Time: v.arrival})
	return e
}
