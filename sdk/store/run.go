package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// Store reads and writes resources. Make one with [New].
type Store struct {
	driver Driver
	types  *schema.Registry
	o      Options
	// keep is the cache, nil if there is none.
	keep atomic.Pointer[cache]
}

// New makes a store of these types over a driver. It adds the framework's own
// records to the types if they are not there.
func New(d Driver, types *schema.Registry, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewUID == nil {
		o.NewUID = newUUID
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, ok := types.Type(cursorType); !ok {
		types.MustAdd(protoregistry.GlobalTypes, resourcev1.File_sdk_resource_v1_records_proto)
	}
	s := &Store{driver: d, types: types, o: o}
	s.forget()
	return s
}

// newUUID is a UUID that begins with the time in milliseconds (RFC 9562, version
// 7), so that those of new objects are beside each other in the index of uids,
// however large that is. 74 bits of it are random.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails
	ms := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint16(b[:], uint16(ms>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	var text [36]byte
	at := 0
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		hex.Encode(text[at:], []byte{c})
		at += 2
	}
	return string(text[:])
}

// Types are the types that the store knows.
func (s *Store) Types() *schema.Registry { return s.types }

// Driver is the database.
func (s *Store) Driver() Driver { return s.driver }

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.o.Now() }

// NewUID is a new uid.
func (s *Store) NewUID() string { return s.o.NewUID() }

// Logger is the store's logger.
func (s *Store) Logger() *slog.Logger { return s.o.Logger }

// handleKey finds the handle of a store in a context.
type handleKey struct{ s *Store }

// infoKey finds the Info of a context.
type infoKey struct{}

// WithInfo returns a context whose transactions are made by info.
func WithInfo(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// serviceKey finds the service that calls.
type serviceKey struct{}

// WithService returns a context of a caller that is a service, "devices.selvedge.dev".
func WithService(ctx context.Context, domain string) context.Context {
	return context.WithValue(ctx, serviceKey{}, domain)
}

// ServiceOf is the service that calls, "" when a user does.
func ServiceOf(ctx context.Context) string {
	domain, _ := ctx.Value(serviceKey{}).(string)
	return domain
}

// TxOf is the open handle of the store in a context.
func (s *Store) TxOf(ctx context.Context) (*Tx, bool) {
	t, ok := ctx.Value(handleKey{s}).(*Tx)
	return t, ok && !t.closed
}

// handle is TxOf for what needs one.
func (s *Store) handle(ctx context.Context, op string) (*Tx, error) {
	t, ok := s.TxOf(ctx)
	if !ok {
		return nil, &fault.Error{Op: op, Kind: fault.Internal, Reason: "NO_HANDLE", Err: errors.New("the context has no open handle of this store: call it inside of Store.Run, or after Store.Begin")}
	}
	return t, nil
}

// Begin opens a handle and returns a context that has it. Who calls it must
// Close the handle, after Commit too. Most should call [Store.Run].
func (s *Store) Begin(ctx context.Context, m Mode) (context.Context, *Tx, error) {
	t := &Tx{st: s, mode: m}
	if m != ReadOnly {
		if err := t.open(ctx); err != nil {
			return nil, nil, fmt.Errorf("beginning a transaction: %w", err)
		}
	}
	return s.with(ctx, t), t, nil
}

// with returns a context with a handle.
func (s *Store) with(ctx context.Context, t *Tx) context.Context {
	t.info, _ = ctx.Value(infoKey{}).(Info)
	return context.WithValue(ctx, handleKey{s}, t)
}

// The bounds of Run: how often it tries, and the longest of the first pause,
// which doubles. Ten tries with pauses of half a second in all get everybody
// through that one hot object lets through in that time.
const (
	maxTries   = 10
	firstPause = time.Millisecond
)

// Run calls f with a handle in its context, and commits a Transaction when f
// returns nil. If the transaction lost against another, f is called again with
// a new snapshot: whatever f does besides must bear that. Inside of a handle of
// the same store, f joins that and nothing is committed yet.
func (s *Store) Run(ctx context.Context, m Mode, f func(ctx context.Context) error) error {
	if _, ok := s.TxOf(ctx); ok {
		return f(ctx)
	}
	pause := firstPause
	for try := 1; ; try++ {
		again, err := s.attempt(ctx, &Tx{st: s, mode: m, hasty: m == Transaction && try == 1}, f)
		if !again || try == maxTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(mrand.N(pause) + 1):
		}
		pause *= 2
	}
}

// attempt is one try of Run, and whether it lost against another transaction.
func (s *Store) attempt(ctx context.Context, t *Tx, f func(ctx context.Context) error) (again bool, err error) {
	if t.mode != ReadOnly && !t.hasty {
		if err := t.open(ctx); err != nil {
			return false, fmt.Errorf("beginning a transaction: %w", err)
		}
	}
	defer t.Close()
	in := s.with(ctx, t)
	if err := f(in); err != nil {
		return false, err
	}
	_, err = t.Commit(in)
	reason := fault.ReasonOf(err)
	return fault.KindOf(err) == fault.Conflict && (reason == "VERSION_CHANGED" || reason == "RANGE_CHANGED"), err
}
