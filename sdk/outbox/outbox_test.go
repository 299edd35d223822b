package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/outbox"
)

// rig is an outbox with a clock, and who takes what it sends.
type rig struct {
	*outbox.Outbox
	t   *testing.T
	dir string
	now time.Time
	// got is what was sent, fail what becomes of the next one.
	got  []string
	fail error
}

// newRig makes a rig.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.open()
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// open opens the outbox.
func (r *rig) open() {
	r.t.Helper()
	var err error
	r.Outbox, err = outbox.Open(r.t.Context(), outbox.Options{Dir: r.dir, Rate: 2, Now: func() time.Time { return r.now }})
	require.NoError(r.t, err)
}

// once sends something of the project p.
func (r *rig) once(id string) error {
	return r.Once(r.t.Context(), "p", id, func(context.Context) error {
		if r.fail == nil {
			r.got = append(r.got, id)
		}
		return r.fail
	})
}

// flush sends what is due.
func (r *rig) flush() error {
	return r.Flush(r.t.Context(), func(_ context.Context, _ string, items []outbox.Item) error {
		if r.fail != nil {
			return r.fail
		}
		text := ""
		for _, i := range items {
			text += string(i.Body)
		}
		r.got = append(r.got, text)
		return nil
	})
}

// hold holds an item of a digest of the project p.
func (r *rig) hold(key, body string) {
	r.t.Helper()
	require.NoError(r.t, r.Hold(r.t.Context(), outbox.Item{Project: "p", Key: key, ID: body, Body: []byte(body)}, time.Minute))
}

func TestOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fail = errors.New("away")
	require.ErrorIs(t, r.once("a"), r.fail)
	r.fail = nil
	require.NoError(t, r.once("a"))
	require.NoError(t, r.once("a"))
	require.NoError(t, r.Close())
	r.open()
	require.NoError(t, r.once("a"))
	require.NoError(t, r.once("b"))
	require.Equal(t, []string{"a", "b"}, r.got)

	// Two in a minute, another project's not counted.
	require.NoError(t, r.once("c"))
	err := r.once("d")
	require.Equal(t, fault.Exhausted, fault.KindOf(err), "%v", err)
	require.Equal(t, "RATE_LIMITED", fault.ReasonOf(err))
	require.NoError(t, r.Once(t.Context(), "q", "e", func(context.Context) error { return nil }))
	r.now = r.now.Add(30 * time.Second)
	require.NoError(t, r.once("d"))
	r.now = r.now.Add(time.Hour)
	r.fail = &fault.Error{Kind: fault.Invalid}
	require.Error(t, r.once("f"))
	require.Equal(t, outbox.Counts{Sent: 4, Duplicate: 1, Limited: 1, Refused: 1}, r.Counts())

	// After a week it is forgotten.
	r.fail, r.now = nil, r.now.Add(8*24*time.Hour)
	require.NoError(t, r.once("g"))
	require.NoError(t, r.once("a"))
	require.Equal(t, []string{"a", "b", "c", "d", "g", "a"}, r.got)
}

// What is held is sent together, once, in its order, over restarts.
func TestFlush(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hold("x", "1")
	r.now = r.now.Add(30 * time.Second)
	r.hold("x", "2")
	r.hold("x", "2")
	r.hold("y", "3")
	require.NoError(t, r.flush())
	require.Empty(t, r.got)
	require.NoError(t, r.Close())
	r.open()
	r.now = r.now.Add(30 * time.Second)
	r.fail = errors.New("away")
	require.Error(t, r.flush())
	r.fail = nil
	require.NoError(t, r.flush(), "it waits")
	require.Empty(t, r.got)
	r.now = r.now.Add(time.Second)
	require.NoError(t, r.flush())
	require.Equal(t, []string{"12"}, r.got)
	r.hold("x", "1") // it comes again
	r.now = r.now.Add(time.Hour)
	require.NoError(t, r.flush())
	require.Equal(t, []string{"12", "3"}, r.got)

	// What will never be taken does not stay.
	r.hold("x", "4")
	r.now = r.now.Add(time.Hour)
	r.fail = &fault.Error{Kind: fault.Invalid}
	require.NoError(t, r.flush())
	r.fail = nil
	require.NoError(t, r.flush())
	require.Len(t, r.got, 2)
	require.Equal(t, int64(1), r.Counts().Refused)

	// Many are sent without waiting.
	for i := range 500 {
		r.hold("z", fmt.Sprintf("%d.", i))
	}
	require.NoError(t, r.flush())
	require.Len(t, r.got, 3)
}

func TestID(t *testing.T) {
	t.Parallel()
	require.Len(t, outbox.ID("a"), 32)
	require.Equal(t, "facdde7abf1eac5b301273ab2e282f79", outbox.ID("a", "b"))
	require.NotEqual(t, outbox.ID("a", "b"), outbox.ID("ab"))
	require.NotEqual(t, outbox.ID("a", "b"), outbox.ID("a1:b"))
}
