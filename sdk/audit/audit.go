// Package audit records who did what: a [Recorder] notes every call of the
// methods of a service (sdk/service), and a [Relay] makes records of the notes
// and of the changes that they came with, and hands them on.
//
// What a call changes and the note of the call are committed in one transaction:
// the feed of the store has the changes, and behind them the note. So there is
// no change without its record, whatever crashes, and where the records go need
// not be there when something is changed. A call that changes nothing is noted
// by itself: one that was denied before it is answered, one that failed soon
// after, and of reads that went well a part ([Options].Reads).
//
// Secrets, which is what the option secret of a field says, are taken out before
// anything is noted. A Recorder and a Relay are safe for concurrent use.
package audit

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Options configure a Recorder.
type Options struct {
	// Region and Host are where calls are answered.
	Region, Host string
	// Reads is which part of the reads of a method that go well is recorded, from
	// 0 to 1. Nil is [DefaultReads] of all.
	Reads func(m *schema.Method, project string, by iam.Principal) float64
	// MaxPayload bounds the request and the response in a record, each in bytes of
	// its wire format: larger ones are left out. 0 is 16 KiB.
	MaxPayload int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told what could not be recorded; nil discards.
	Logger *slog.Logger
}

// DefaultReads is which part of the reads is recorded unless somebody says
// otherwise: enough to see who reads what in the long run, too few to cost
// anything.
const DefaultReads = 0.01

// Recorder notes calls. It is a [store.Plugin] of every store that it records
// the calls of, the last of them: without it the changes have records, but not
// the calls. Make one with [New].
type Recorder struct {
	o        Options
	redact   redactor
	queue    chan queued
	dropped  atomic.Int64
	rejected rejected
}

var _ store.Plugin = (*Recorder)(nil)

// New makes a Recorder.
func New(o Options) *Recorder {
	if o.Reads == nil {
		o.Reads = func(*schema.Method, string, iam.Principal) float64 { return DefaultReads }
	}
	if o.MaxPayload <= 0 {
		o.MaxPayload = 16 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{o: o, queue: make(chan queued, maxQueued)}
}

// Dropped is how many records were dropped since the beginning: reads that came
// faster than they could be written down, and what a database that was away for
// long did not take. The log says how many they were too.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

// chosen reports whether a read is one of those that are recorded, and which
// part they are.
func (r *Recorder) chosen(m *schema.Method, project string, by iam.Principal) (rate float64, yes bool) {
	rate = r.o.Reads(m, project, by)
	return rate, rate >= 1 || rate > 0 && rand.Float64() < rate
}

// callKey finds the Call of a context.
type callKey struct{}

// Of is the call that the context is of, nil for none.
func Of(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// asKey finds who the platform says that it is.
type asKey struct{}

// As returns a context of what the platform does by itself, under a name:
// "services/meta.selvedge.dev". A principal goes before it.
func As(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, asKey{}, name)
}

// principalOf is who calls: the principal, or else what the platform says of
// itself.
func principalOf(ctx context.Context) iam.Principal {
	p := iam.PrincipalOf(ctx)
	if p.Name != "" {
		return p
	}
	if p.Name, _ = ctx.Value(asKey{}).(string); p.Name == "" {
		if domain := store.ServiceOf(ctx); domain != "" {
			p.Name = "services/" + domain
		}
	}
	return p
}

// fullName is a message's, "" for none.
func fullName(m interface{ ProtoReflect() protoreflect.Message }) string {
	return string(m.ProtoReflect().Descriptor().FullName())
}
