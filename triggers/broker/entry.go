package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/journal"
)

// entry is a record of the journal, read as far as routing needs it: nearly
// every event passes nearly every trigger by, and is not decoded for that. It is
// as long valid as its record, and shared by all who look at it; none of them
// changes it.
type entry struct {
	parts
	// own says that the record has its memory for itself.
	own bool
	// whole is the event, once a filter has asked for it.
	whole atomic.Pointer[event.Event]
}

// parts are what an entry knows of its record.
type parts struct {
	offset  journal.Offset
	record  []byte
	arrival int64 // Unix milliseconds
	answers journal.Offset
	hops    byte
	// elsewhere says that the event belongs to another than the default broker.
	elsewhere bool
	// by and target are parts of the record, as is head, from at on.
	byAt, targetAt part
	at             int
	head           event.Head
}

// part is a part of a record, from (inclusive) to (exclusive).
type part struct{ from, to int }

// read makes v the entry of the record at an offset. It is the inverse of
// envelope.append.
func (v *entry) read(offset journal.Offset, record []byte) error {
	if _, _, err := parseKey(record); err != nil {
		return err
	}
	v.parts = parts{offset: offset, record: record, hops: record[headerLen-1]}
	if v.whole.Load() != nil {
		v.whole.Store(nil)
	}
	arrival, n := binary.Varint(record[headerLen:])
	if n <= 0 {
		return errCutShort
	}
	v.arrival = arrival
	v.at = headerLen + n
	if record[0] != envelopeFirst {
		answers, n := binary.Uvarint(record[v.at:])
		if n <= 0 {
			return errCutShort
		}
		v.answers = journal.Offset(answers)
		v.at += n
		for _, text := range [...]*part{&v.byAt, &v.targetAt} {
			size, n := binary.Uvarint(record[v.at:])
			if n <= 0 || size > uint64(len(record)-v.at-n) {
				return errCutShort
			}
			*text = part{v.at + n, v.at + n + int(size)}
			v.at = text.to
		}
	}
	var err error
	if v.head, err = event.ReadHead(record[v.at:]); err != nil {
		return fmt.Errorf("journal record: %w", err)
	}
	name, _, _ := v.head.Extension(event.Broker)
	v.elsewhere = len(name) > 0 && string(name) != DefaultBroker
	return nil
}

// readAll are the entries of records from an offset on.
func readAll(first journal.Offset, records [][]byte) ([]entry, error) {
	entries := make([]entry, len(records))
	for i, record := range records {
		if err := entries[i].read(first+journal.Offset(i), record); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// copy is the subscriber's own copy of the event, with the arrival time.
func (v *entry) copy() (event.Event, error) {
	a := v.arrived()
	return a.Event()
}

// arrived is the event as a function.Bulk gets it.
func (v *entry) arrived() function.Arrived { return function.Arrived{Head: &v.head, Time: v.time()} }

// apart is an entry like v that holds on to no memory but its own.
func (v *entry) apart() *entry {
	if v.own {
		return v
	}
	own := &entry{own: true}
	own.move(v, bytes.Clone(v.record))
	return own
}

// move makes v what from is, in a copy of its record.
func (v *entry) move(from *entry, record []byte) {
	v.parts = from.parts
	v.record, v.head = record, from.head.Moved(record[from.at:])
}

// time is when the event arrived.
func (v *entry) time() time.Time { return time.UnixMilli(v.arrival).UTC() }

// seen is the event as filters see it, decoded once for all of them. They do
// not change it.
func (v *entry) seen() (*event.Event, error) {
	if e := v.whole.Load(); e != nil {
		return e, nil
	}
	e, err := v.head.Event(0)
	if err != nil {
		return nil, err
	}
	v.whole.Store(&e)
	return &e, nil
}

// by is the trigger that replied the event, empty for none, as a part of the
// record.
func (v *entry) by() []byte { return v.record[v.byAt.from:v.byAt.to] }

// target is the one trigger that a replayed event is for, empty for none, as a
// part of the record.
func (v *entry) target() []byte { return v.record[v.targetAt.from:v.targetAt.to] }

// project is the id of the project that the event belongs to, as a part of the
// record.
func (v *entry) project() []byte {
	project, _, _ := v.head.Extension(event.Project)
	return project
}

// broker is the name of the broker of its project that the event belongs to.
func (v *entry) broker() string {
	if !v.elsewhere {
		return DefaultBroker
	}
	name, _, _ := v.head.Extension(event.Broker)
	return string(name)
}
