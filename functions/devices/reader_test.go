package devices_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
)

// What is known is looked up without much ado: the processor asks for every
// event.
func TestReader_HitsAllocateLittle(t *testing.T) {
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := w.device(ctx, "projects/p/devices/d", "n/k/v")
	require.NoError(t, err)
	a, b := external(t, "n/k/v"), external(t, "n/k/nobody's")
	for i, read := range []func(){
		func() { _, _ = w.Device(ctx, "projects/p/devices/d") },
		func() { _, _ = w.Device(ctx, "projects/p/devices/absent") },
		func() { _, _ = w.Blueprint(ctx, "projects/p/blueprints/absent") },
		func() { _, _ = w.Resolve(ctx, "p", a) },
		func() { _, _ = w.Resolve(ctx, "p", b) },
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, read), 2.0, i) // of a handle of the store
	}
}

// Another process that writes to the same database is heard of, also of what was
// known not to be there.
func TestReader_OtherProcesses(t *testing.T) {
	t.Parallel()
	path, ctx := file(t), admin(t)
	one, two := open(t, path, devices.Options{}), open(t, path, devices.Options{})
	stop := run(t, two)
	defer stop()
	following, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { _ = two.store.Follow(following) })
	defer all.Wait()
	defer end()
	a := external(t, "n/k/v")
	resolves := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			d, err := two.Resolve(ctx, "p", a)
			return want == "" && fault.KindOf(err) == fault.NotFound || err == nil && d.GetName() == want
		}, time.Minute, 10*time.Millisecond)
	}
	resolves("")
	_, err := one.device(ctx, "projects/p/devices/d", a.String())
	require.NoError(t, err)
	resolves("projects/p/devices/d")
	require.NoError(t, one.remove(ctx, "projects/p/devices/d"))
	resolves("")
	_, err = one.device(ctx, "projects/p/regions/local/devices/e", a.String())
	require.NoError(t, err)
	resolves("projects/p/regions/local/devices/e")
}

// BenchmarkReader is the readers' way through a fleet that is known.
func BenchmarkReader(b *testing.B) {
	w := open(b, file(b), devices.Options{})
	ctx := admin(b)
	names, values := make([]string, 1000), make([]string, 1000)
	for i := range names {
		names[i], values[i] = fmt.Sprintf("projects/fleet/devices/device-%04d", i), fmt.Sprintf("555%04d", i)
		_, err := w.device(ctx, names[i], "boat-network/esn/"+values[i])
		require.NoError(b, err)
	}
	alias := func(i int) devicesv1.External {
		return devicesv1.External{Network: "boat-network", Key: "esn", Value: values[i%len(values)]}
	}
	for name, read := range map[string]func(int) error{
		"Device": func(i int) error {
			_, err := w.Device(ctx, names[i%len(names)])
			return err
		},
		"Resolve": func(i int) error {
			_, err := w.Resolve(ctx, "fleet", alias(i))
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range names {
				require.NoError(b, read(i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := read(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
