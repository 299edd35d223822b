package audit

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"selvedge.dev/logstore/audit/chain"
)

// The kinds of frames.
const (
	kindRecord = iota + 1
	kindErased
	kindCheckpoint
	kindSeal // a checkpoint behind which the segment ends
)

// The sizes of frames. A frame is the length of its body, a CRC-32C of the
// segment's epoch, the length and the body, and the body:
//
//	record:     | 1 u8 | seq u64 | time i64 | prev 32 | hash 32 | salt 16 | category | type | id | data |
//	erased:     | 2 u8 | seq u64 | time i64 | prev 32 | hash 32 | data's hash 32 | erased by u64 | category | type | id |
//	checkpoint: | 3 u8, or 4 for the last of a segment | note |
//
// with strings as uvarint length and bytes, and integers little-endian. In the
// journal a body stands behind the project, as such a string.
const (
	frameHeader = 8
	fixedPart   = 1 + 8 + 8 + 32 + 32
	maxBody     = fixedPart + 40 + 3*(chain.MaxName+2) + chain.MaxData
)

// errTorn is a frame that is not whole.
var errTorn = errors.New("a frame that is not whole")

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// body encodes a record.
func body(l *Link) []byte {
	b := make([]byte, 0, fixedPart+48+len(l.Category)+len(l.Type)+len(l.ID)+len(l.Data))
	b = append(b, kindRecord)
	b = binary.LittleEndian.AppendUint64(b, l.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Time.UnixNano()))
	b = append(b, l.Prev[:]...)
	b = append(b, l.Hash[:]...)
	if l.ErasedBy != 0 {
		b[0] = kindErased
		b = append(b, l.DataHash[:]...)
		b = binary.LittleEndian.AppendUint64(b, l.ErasedBy)
	} else {
		b = append(b, l.Salt[:]...)
	}
	for _, s := range []string{l.Category, l.Type, l.ID} {
		b = appendString(b, s)
	}
	return append(b, l.Data...)
}

// noteBody encodes a checkpoint.
func noteBody(c *Checkpoint, seal bool) []byte {
	kind := byte(kindCheckpoint)
	if seal {
		kind = kindSeal
	}
	return append([]byte{kind}, c.Note()...)
}

// parseBody is the inverse of body and noteBody. The data of the record is a
// part of b.
func parseBody(project string, b []byte) (i chain.Item, seal bool, err error) {
	switch {
	case len(b) > 0 && (b[0] == kindCheckpoint || b[0] == kindSeal):
		c, err := chain.ParseNote(string(b[1:]))
		return chain.Item{Checkpoint: &c}, b[0] == kindSeal, err
	case len(b) < fixedPart || b[0] != kindRecord && b[0] != kindErased:
		return i, false, errTorn
	}
	l := &Link{Record: Record{Project: project}}
	kind := b[0]
	l.Seq, l.Time = seqOf(b), timeOf(b)
	copy(l.Prev[:], b[17:])
	l.Hash = hashOf(b)
	b = b[fixedPart:]
	if kind == kindErased {
		if len(b) < 40 {
			return i, false, errTorn
		}
		copy(l.DataHash[:], b)
		l.ErasedBy = binary.LittleEndian.Uint64(b[32:])
		if b = b[40:]; l.ErasedBy == 0 {
			return i, false, errTorn
		}
	} else {
		if len(b) < len(l.Salt) {
			return i, false, errTorn
		}
		b = b[copy(l.Salt[:], b):]
	}
	for _, s := range []*string{&l.Category, &l.Type, &l.ID} {
		var ok bool
		if *s, b, ok = cutString(b); !ok {
			return i, false, errTorn
		}
	}
	if kind == kindErased {
		if len(b) > 0 {
			return i, false, errTorn
		}
		return chain.Item{Link: l}, false, nil
	}
	l.Data = b
	l.SealData()
	return chain.Item{Link: l}, false, nil
}

// isRecord reports whether a body is a record's, long enough for seqOf, timeOf
// and hashOf.
func isRecord(b []byte) bool {
	return len(b) >= fixedPart && (b[0] == kindRecord || b[0] == kindErased)
}

// seqOf, timeOf and hashOf read these of a record's body.
func seqOf(b []byte) uint64 { return binary.LittleEndian.Uint64(b[1:]) }

// timeOf is the time of a record's body.
func timeOf(b []byte) time.Time {
	return time.Unix(0, int64(binary.LittleEndian.Uint64(b[9:]))).UTC()
}

// hashOf is the hash of a record's body.
func hashOf(b []byte) chain.Hash { return chain.Hash(b[49:81]) }

// idOf is the id of a record's body.
func idOf(b []byte) (string, bool) {
	at := fixedPart + len(chain.Salt{})
	if b[0] == kindErased {
		at = fixedPart + 40
	}
	if len(b) < at {
		return "", false
	}
	var id string
	b = b[at:]
	for range 3 {
		var ok bool
		if id, b, ok = cutString(b); !ok {
			return "", false
		}
	}
	return id, true
}

// appendString appends a string with its length before it.
func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutString is the inverse of appendString.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", b, false
	}
	b = b[size:]
	return string(b[:n]), b[n:], true
}

// appendFrame appends a body as a frame.
func appendFrame(b []byte, epoch uint32, body []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, checksum(epoch, body))
	return append(b, body...)
}

// checksum is that of a frame's body.
func checksum(epoch uint32, body []byte) uint32 {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], epoch)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, body)
}

// frames reads the frames of a file from at to end.
type frames struct {
	file    io.ReaderAt
	epoch   uint32
	at, end int64
	buf     []byte
	from    int64 // of buf
}

// readAhead is how much frames reads at once.
const readAhead = 256 << 10

// next is the body of the next frame, valid until the one after it is read.
// Behind the last it is io.EOF, and errTorn where there is no whole frame.
func (f *frames) next() ([]byte, error) {
	if f.at >= f.end {
		return nil, io.EOF
	}
	head, err := f.bytes(f.at, frameHeader)
	if err != nil {
		return nil, err
	}
	n, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if n == 0 || n > maxBody {
		return nil, errTorn
	}
	b, err := f.bytes(f.at+frameHeader, int(n))
	if err != nil {
		return nil, err
	}
	if checksum(f.epoch, b) != sum {
		return nil, errTorn
	}
	f.at += frameHeader + int64(n)
	return b, nil
}

// bytes are n bytes of the file, errTorn if it has fewer.
func (f *frames) bytes(at int64, n int) ([]byte, error) {
	if at+int64(n) > f.end {
		return nil, errTorn
	}
	if at < f.from || at+int64(n) > f.from+int64(len(f.buf)) {
		size := int(min(f.end-at, int64(max(n, readAhead))))
		if cap(f.buf) < size {
			f.buf = make([]byte, size)
		}
		f.buf = f.buf[:size]
		f.from = at
		if got, err := f.file.ReadAt(f.buf, at); got < size {
			f.buf = f.buf[:0]
			if err == nil || errors.Is(err, io.EOF) {
				err = errTorn
			}
			return nil, err
		}
	}
	at -= f.from
	return f.buf[at : at+int64(n)], nil
}
