package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// The layout of a slot file; doc.go draws it. These constants are part of the
// file format and must not change.
const (
	slotSpacing = 4096 // a block each, so that writing one never tears the other
	slotSize    = 36
	slotMagic   = "SLVC"
)

// mark is what a slot file holds: a position, and how many records were lost
// before it.
type mark struct {
	position Offset
	lost     uint64
}

// slots is a file that holds one mark durably and is changed in place without
// ever being without a valid one. It has no lock of its own.
type slots struct {
	file     File
	current  int    // the slot that holds what is known to be durable
	sequence uint64 // of that slot
}

// createSlots makes the file name with m in it, complete and durable or not at
// all.
func createSlots(dir Dir, name string, m mark) (*slots, error) {
	temp := name + tempSuffix
	f, err := dir.Open(temp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	// Writing every byte, rather than reserving them, gives both slots their
	// blocks on every file system.
	content := make([]byte, 2*slotSpacing)
	copy(content, encodeSlot(1, m))
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &slots{file: f, current: 0, sequence: 1}, nil
}

// openSlots reads the file name. ok is false when neither slot is valid; the
// file can be stored to all the same.
//
// What it returns is durable: the process that wrote the slot may have been
// killed, or failed, before it was synced, so it is written once more. The
// bytes on disk, if they are there, do not change, and if they are not, the
// other slot is untouched.
func openSlots(dir Dir, name string) (s *slots, m mark, ok bool, err error) {
	f, err := dir.Open(name, 0)
	if err != nil {
		return nil, m, false, err
	}
	s = &slots{file: f, current: 1}
	for i := range 2 {
		b := make([]byte, slotSize)
		if n, err := f.ReadAt(b, int64(i)*slotSpacing); err != nil && !errors.Is(err, io.EOF) {
			return nil, m, false, errors.Join(err, f.Close())
		} else if sequence, found, valid := decodeSlot(b[:n]); valid && sequence > s.sequence {
			s.current, s.sequence, m, ok = i, sequence, found, true
		}
	}
	if ok {
		err = s.write(s.current, s.sequence, m)
	}
	if err != nil {
		return nil, m, false, errors.Join(err, f.Close())
	}
	return s, m, ok, nil
}

// store replaces the mark durably. After an error the old or the new one may be
// found by the next Open; a retry writes the same slot again, since the other
// is the only one known to be good.
func (s *slots) store(m mark) error {
	other, next := 1-s.current, s.sequence+1
	if err := s.write(other, next, m); err != nil {
		return err
	}
	s.current, s.sequence = other, next
	return nil
}

// write puts m into slot i and syncs it.
func (s *slots) write(i int, sequence uint64, m mark) error {
	if _, err := s.file.WriteAt(encodeSlot(sequence, m), int64(i)*slotSpacing); err != nil {
		return err
	}
	return s.file.Sync()
}

// encodeSlot renders a slot.
func encodeSlot(sequence uint64, m mark) []byte {
	b := make([]byte, 0, slotSize)
	b = append(b, slotMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint64(b, sequence)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.position))
	b = binary.LittleEndian.AppendUint64(b, m.lost)
	return appendSum(b)
}

// decodeSlot reads what encodeSlot wrote.
func decodeSlot(b []byte) (sequence uint64, m mark, ok bool) {
	if !summed(b, slotSize) || string(b[:4]) != slotMagic || binary.LittleEndian.Uint32(b[4:]) != formatVersion {
		return 0, m, false
	}
	m.position = Offset(binary.LittleEndian.Uint64(b[16:]))
	m.lost = binary.LittleEndian.Uint64(b[24:])
	return binary.LittleEndian.Uint64(b[8:]), m, true
}
