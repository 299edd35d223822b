package broker

import (
	"encoding/binary"
	"errors"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/journal"
)

// A journal record is an envelope around the record form of an event:
//
//	version 1 byte | origin 1 byte | key 16 bytes | hops 1 byte | arrival varint ms |
//	cause uvarint offset+1, 0 for none | by string | target string | event
//
// A string is its length as a uvarint, and its bytes. Version 1, which is read
// and not written any more, has neither cause nor by nor target.
const (
	envelopeVersion = 2
	envelopeFirst   = 1
)

// The origins of an event, each with a duplicate window of its own: replies of
// functions must not push what devices sent out of the window.
const (
	fromOutside origin = iota
	fromReply
	fromReplay
	origins
)

// origin is where an event came from.
type origin byte

// maxHops is how many times an event and its replies may pass the broker
// before it is taken for a loop, as on Knative.
const maxHops = 255

// envelope is what the broker knows about an event that it is to append.
type envelope struct {
	origin  origin
	key     key
	hops    byte
	arrival time.Time
	// answers is one more than the offset of the event that this one is a reply
	// to, 0 for none, and by the trigger that replied.
	answers journal.Offset
	by      string
	// target is the one trigger that a replayed event is for.
	target string
	event  *event.Event
	// record is the journal record, if it was made already.
	record []byte
}

// append appends the journal record of v to dst.
func (v *envelope) append(dst []byte) ([]byte, error) {
	dst = append(dst, envelopeVersion, byte(v.origin))
	dst = append(dst, v.key[:]...)
	dst = append(dst, v.hops)
	dst = binary.AppendVarint(dst, v.arrival.UnixMilli())
	dst = binary.AppendUvarint(dst, uint64(v.answers))
	for _, text := range [...]string{v.by, v.target} {
		dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	}
	return event.AppendRecord(dst, v.event)
}

// size is about how long the journal record of v is.
func (v *envelope) size() int { return len(v.event.DataEncoded) + usualAttributes }

// usualAttributes is how long a record of an event from a device is beside the
// data; one that is longer costs a copy.
const usualAttributes = 256

// headerLen is the length of an envelope up to the arrival time.
const headerLen = 3 + len(key{})

// errCutShort is the error of a record that ends too early.
var errCutShort = errors.New("journal record: cut short")

// parseKey reads only what the duplicate window needs from a record.
func parseKey(record []byte) (origin, key, error) {
	if len(record) < headerLen || record[0] < envelopeFirst || record[0] > envelopeVersion || record[1] >= byte(origins) {
		return 0, key{}, errors.New("journal record: not an envelope")
	}
	return origin(record[1]), key(record[2 : 2+len(key{})]), nil
}
