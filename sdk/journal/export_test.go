package journal

import "bytes"

// WithEpochs makes the random numbers of segments come from next, so that a run
// can be repeated.
func WithEpochs(o Options, next func() uint32) Options {
	o.epoch = next
	return o
}

// WithoutChecksums is the seeded defect of a journal that believes every frame.
func WithoutChecksums(o Options) Options {
	o.unchecked = true
	return o
}

// HeaderOfVersion is the header of a segment of another format version.
func HeaderOfVersion(version byte) []byte {
	b := header{first: 0, epoch: 1}.encode()
	b[4] = version
	return appendSum(b[:headerSize-4])
}

// SegmentFile is a segment that begins with offset 0 and holds records, as its
// file name and contents. seals is what its seal claims to count; 0 is no seal.
func SegmentFile(seals uint64, records ...[]byte) (name string, contents []byte) {
	h := header{sequence: 1, epoch: 0x12345678}
	c := newCodec(h.first, h.epoch, false)
	b := append(h.encode(), make([]byte, dataStart-headerSize)...)
	for i, r := range records {
		b = c.append(b, uint32(i), i%2 == 0, r)
	}
	if seals > 0 {
		note := seal{epoch: h.epoch, holed: seals != uint64(len(records)), count: seals, end: int64(len(b))}
		copy(b[sealStart:], note.encode())
	}
	return h.name(), bytes.Clone(b)
}
