package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Offset numbers a record: contiguous from 0, the same after a restart, never
// given to another record.
type Offset uint64

// OnFull says what a journal does that has reached MaxBytes.
type OnFull uint8

// The ways to be full.
const (
	// Reject refuses to append until a cursor has passed a segment.
	Reject OnFull = iota
	// DropOldest deletes the oldest segment and counts what cursors missed.
	DropOldest
)

// The bounds and defaults of Options.
const (
	minSegmentBytes = 64 << 10
	maxSegmentBytes = 1 << 30
	// defaultSegmentBytes keeps a scan after a crash at some ten milliseconds and
	// the blocks reserved in advance small beside defaultMaxBytes.
	defaultSegmentBytes = 16 << 20
	defaultMaxBytes     = 1 << 30
	// defaultMaxRecord is the largest request body that is accepted elsewhere,
	// with room for what is recorded beside it.
	defaultMaxRecord = 4<<20 + 64<<10
	// maxQueuedBytes bounds what callers of Append have waiting; it is also the
	// largest batch.
	maxQueuedBytes = 64 << 20
	// maxGroupBytes bounds one commit group, and so the buffer kept for it. Above
	// some megabytes a larger write is no faster.
	maxGroupBytes = 4 << 20
)

// Options configures a journal. The zero value is a good one.
type Options struct {
	// SegmentBytes is the size of a segment file, 64 KiB to 1 GiB; 0 means
	// 16 MiB, or an eighth of MaxBytes if that is less. It is what one deletion
	// gives back, and what is reserved on disk in advance. A larger batch gets a
	// segment of its own size.
	SegmentBytes int64
	// MaxBytes bounds the size of all segments together; 0 means 1 GiB. Cursors
	// take 8 KiB each beside it.
	MaxBytes int64
	// OnFull says what happens at that bound.
	OnFull OnFull
	// MaxRecord is the largest record in bytes; 0 means 4 MiB + 64 KiB.
	MaxRecord int
	// CommitDelay is how long a commit waits for more records to share its
	// fdatasync. 0 means not at all: it takes whatever queued while the one
	// before it ran. A delay spares flash memory where records come slowly.
	CommitDelay time.Duration
	// FS is the file system; nil means the operating system's.
	FS FS
	// Logger hears of damage and of failures that no caller is told about; nil
	// discards.
	Logger *slog.Logger

	// epoch makes the random numbers of segments; set by tests only.
	epoch func() uint32
	// unchecked accepts every frame whatever its checksum. It is the seeded
	// defect that the crash model must find; set by tests only.
	unchecked bool
}

// withDefaults fills in what is zero and refuses what makes no sense.
func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = max(minSegmentBytes, min(defaultSegmentBytes, o.MaxBytes/8))
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = defaultMaxRecord
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.epoch == nil {
		o.epoch = rand.Uint32
	}
	switch {
	case o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes:
		return o, invalid("SegmentBytes", fmt.Errorf("%d is not from %d to %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes))
	case o.MaxBytes < o.SegmentBytes:
		return o, invalid("MaxBytes", fmt.Errorf("%d is less than one segment of %d", o.MaxBytes, o.SegmentBytes))
	case o.MaxRecord < 0 || o.MaxRecord > maxQueuedBytes/2:
		return o, invalid("MaxRecord", fmt.Errorf("%d is not from 0 to %d", o.MaxRecord, maxQueuedBytes/2))
	case o.CommitDelay < 0:
		return o, invalid("CommitDelay", errors.New("negative"))
	case o.OnFull > DropOldest:
		return o, invalid("OnFull", fmt.Errorf("unknown value %d", o.OnFull))
	}
	return o, nil
}
