package journal

import (
	"context"
	"errors"
	"syscall"
	"time"

	"selvedge.dev/sdk/fault"
)

// ErrLocked means that another journal holds the directory.
var ErrLocked = errors.New("directory is locked by another journal")

// ErrClosed is what every method of a closed journal fails with.
var ErrClosed = errors.New("journal is closed")

// The reasons of Exhausted errors.
const (
	// ReasonJournalFull: the journal has reached MaxBytes and keeps everything.
	ReasonJournalFull = "JOURNAL_FULL"
	// ReasonDiskFull: the file system has no room for another segment.
	ReasonDiskFull = "DISK_FULL"
)

// The reasons in Stats.Lost.
const (
	// LostEvicted: a full journal under DropOldest deleted what a cursor had not
	// passed; counted once for each such cursor.
	LostEvicted = "EVICTED"
	// LostCorrupt: durable records that can no longer be read.
	LostCorrupt = "CORRUPT"
)

// retryDelay is what a caller should wait before it appends to a full journal
// again: about as long as a consumer needs to pass a segment.
const retryDelay = time.Second

// fullError is an error that goes away when consumers or operators make room.
type fullError struct{ error }

// RetryAfter implements fault.RetryAfter.
func (fullError) RetryAfter() time.Duration { return retryDelay }

// Unwrap returns the cause.
func (e fullError) Unwrap() error { return e.error }

// errFull is the cause of a JOURNAL_FULL error.
var errFull = fullError{errors.New("the journal has reached its size bound")}

// wrap makes err the *fault.Error of the exported operation op. A full disk is
// Exhausted; any other failure of the file system, a closed journal and an
// ended context are Unavailable: nothing is wrong with the call.
func wrap(op string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		e := *known
		e.Op = op
		return &e
	case errors.Is(err, errFull):
		return &fault.Error{Op: op, Kind: fault.Exhausted, Reason: ReasonJournalFull, Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &fault.Error{Op: op, Kind: fault.Exhausted, Reason: ReasonDiskFull, Err: fullError{err}}
	case errors.Is(err, ErrLocked):
		return &fault.Error{Op: op, Kind: fault.Conflict, Reason: "JOURNAL_LOCKED", Err: err}
	}
	return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
}

// invalid is an error of the caller's own making.
func invalid(field string, err error) error {
	return &fault.Error{Kind: fault.Invalid, Field: field, Err: err}
}

// ended is the error of a context that ended while its caller waited.
func ended(ctx context.Context, doing string) error {
	return &fault.Error{Kind: fault.Unavailable, Err: errors.Join(errors.New(doing), context.Cause(ctx))}
}
