package devices_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// keys are the keys of devices in memory.
type keys struct {
	mu      sync.Mutex
	records map[string]iam.Record
	// down, if not nil, is what every call ends with.
	down error
	// asked has a place for each question, as far as there is room.
	asked chan struct{}
}

// newKeys is an empty one.
func newKeys() *keys { return &keys{records: map[string]iam.Record{}, asked: make(chan struct{}, 1)} }

// Create implements iam.Keys.
func (k *keys) Create(_ context.Context, r iam.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records[r.ID] = r
	return k.down
}

// Key implements iam.Keys.
func (k *keys) Key(_ context.Context, id string) (iam.Record, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.records[id]; ok || k.down != nil {
		return r, k.down
	}
	return iam.Record{}, &fault.Error{Kind: fault.NotFound}
}

// List implements iam.Keys.
func (k *keys) List(_ context.Context, q iam.Query) (out []iam.Record, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.records {
		if r.Principal == q.Principal {
			out = append(out, r)
		}
	}
	select {
	case k.asked <- struct{}{}:
	default:
	}
	return out, k.down
}

// Delete implements iam.Keys.
func (k *keys) Delete(_ context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.records, id)
	return k.down
}

// fail makes every call end with err.
func (k *keys) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = err
}

// give makes a key for a device.
func give(t *testing.T, ring *iam.Keyring, device string) string {
	t.Helper()
	p, err := iam.ParsePrincipal(device)
	require.NoError(t, err)
	key, _, err := ring.Make(t.Context(), p, "", time.Time{})
	require.NoError(t, err)
	return key
}

// lets reports whether a key lets its device in.
func lets(t *testing.T, ring *iam.Keyring, key string) bool {
	t.Helper()
	_, err := ring.Authenticate(t.Context(), "Bearer "+key)
	if err != nil {
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	}
	return err == nil
}

// run runs the service's part that follows deletions, and returns what ends it.
func run(t *testing.T, w *world) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// Who deletes a device is answered when its keys let nobody in any more. A
// device that is only asked about keeps them.
func TestDeleted_CredentialsGoWithTheDevice(t *testing.T) {
	t.Parallel()
	ring, ctx := iam.NewKeyring(newKeys()), admin(t)
	w := open(t, file(t), devices.Options{Deleted: ring.RevokeBefore})
	const d, e = "projects/p/devices/d", "projects/p/devices/e"
	for _, name := range []string{d, e} {
		_, err := w.device(ctx, name)
		require.NoError(t, err)
	}
	first, second, other := give(t, ring, d), give(t, ring, d), give(t, ring, e)
	_, err := call[*resourcev1.DeletionPlan](ctx, w, "DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: d, ValidateOnly: true})
	require.NoError(t, err)
	_, err = call[*resourcev1.DeletionPlan](ctx, w, "DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: d, Etag: "another"})
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	require.True(t, lets(t, ring, first))
	require.NoError(t, w.remove(ctx, d))
	require.False(t, lets(t, ring, first))
	require.False(t, lets(t, ring, second))
	require.True(t, lets(t, ring, other))
}

// Keys that could not be taken at once are taken later, also by another
// process; a device that was made anew under the name keeps those that it was
// given.
func TestDeleted_AfterACrash(t *testing.T) {
	t.Parallel()
	store, path, ctx := newKeys(), file(t), admin(t)
	ring := iam.NewKeyring(store)
	w := open(t, path, devices.Options{Deleted: ring.RevokeBefore})
	const d, e = "projects/p/devices/d", "projects/p/devices/e"
	for _, name := range []string{d, e} {
		_, err := w.device(ctx, name)
		require.NoError(t, err)
	}
	old, gone := give(t, ring, d), give(t, ring, e)
	for made := time.Now(); time.Since(made) < time.Millisecond; { // what keys are told apart by
		runtime.Gosched()
	}
	store.fail(errors.New("down"))
	require.NoError(t, w.remove(ctx, d), "what is done cannot be taken back")
	require.NoError(t, w.remove(ctx, e))
	_, err := w.device(ctx, d)
	require.NoError(t, err)
	store.fail(nil)
	anew := give(t, ring, d)
	require.NoError(t, w.driver.Close())

	// The next process begins where this one was.
	ring = iam.NewKeyring(store)
	handled := make(chan string, 10)
	w = open(t, path, devices.Options{Deleted: func(ctx context.Context, device string, until time.Time) error {
		defer func() { handled <- device }()
		return ring.RevokeBefore(ctx, device, until)
	}})
	stop := run(t, w)
	require.Equal(t, d, <-handled)
	require.Equal(t, e, <-handled)
	require.False(t, lets(t, ring, old))
	require.False(t, lets(t, ring, gone))
	require.True(t, lets(t, ring, anew))
	stop()
}

// What cannot be done is tried again, and what was done is not forgotten.
func TestDeleted_TriesAgain(t *testing.T) {
	t.Parallel()
	ctx := admin(t)
	var mu sync.Mutex
	tries := 0
	done := make(chan string, 10)
	w := open(t, file(t), devices.Options{Deleted: func(_ context.Context, device string, _ time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries < 3 { // at once, and by Run
			return errors.New("down")
		}
		done <- device
		return nil
	}})
	_, err := w.device(ctx, "projects/p/devices/d")
	require.NoError(t, err)
	stop := run(t, w)
	require.NoError(t, w.remove(ctx, "projects/p/devices/d"))
	require.Equal(t, "projects/p/devices/d", <-done)
	stop()
}

// A device that the platform registers is there, also if it was.
func TestRegister_IsIdempotent(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), t.Context()
	require.NoError(t, w.Register(ctx, "projects/p/devices/d"))
	first, err := w.Device(ctx, "projects/p/devices/d")
	require.NoError(t, err)
	require.NotEmpty(t, first.GetMetadata().GetUid())
	require.NoError(t, w.Register(ctx, "projects/p/devices/d"))
	again, err := w.Device(ctx, "projects/p/devices/d")
	require.NoError(t, err)
	equal(t, first, again)
}
