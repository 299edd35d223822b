package collector

import (
	"encoding/binary"
	"errors"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest/wire"
)

// entry is what the log keeps beside a body, which it keeps as it came: packed
// if it was, since that is what takes the least room and no time. In the log,
// integers little-endian:
//
//	0         1        2          3     4          12         20      22
//	+---------+--------+----------+-----+----------+----------+-------+---------+------+
//	| version | format | encoding | 0   | unit u64 | now u64  | n u16 | project | body |
//	+---------+--------+----------+-----+----------+----------+-------+---------+------+
type entry struct {
	project  string
	format   wire.Format
	encoding wire.Encoding
	unit     wire.Unit
	now      tsdb.Millis
}

// entryVersion is the version of the layout; fixedHeader is its length without
// the project.
const (
	entryVersion = 1
	fixedHeader  = 22
)

// headerLen is the length of the header.
func (e *entry) headerLen() int { return fixedHeader + len(e.project) }

// appendHeader appends what stands before the body.
func (e *entry) appendHeader(dst []byte) []byte {
	dst = append(dst, entryVersion, byte(e.format), byte(e.encoding), 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.unit))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.now))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.project)))
	return append(dst, e.project...)
}

// parseEntry is the inverse of appendHeader.
func parseEntry(record []byte) (entry, error) {
	if len(record) < fixedHeader || record[0] != entryVersion {
		return entry{}, errors.New("a record of another version")
	}
	n := int(binary.LittleEndian.Uint16(record[20:]))
	if len(record) < fixedHeader+n {
		return entry{}, errors.New("a record that is cut off")
	}
	return entry{
		project:  string(record[fixedHeader : fixedHeader+n]),
		format:   wire.Format(record[1]),
		encoding: wire.Encoding(record[2]),
		unit:     wire.Unit(binary.LittleEndian.Uint64(record[4:])),
		now:      tsdb.Millis(binary.LittleEndian.Uint64(record[12:])),
	}, nil
}
