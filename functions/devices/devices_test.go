package devices

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// open opens the registry's database at path until the test ends.
func open(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// file is a new database file's path.
func file(t testing.TB) string { return filepath.Join(t.TempDir(), "devices.db") }

// alias is NETWORK/KEY/VALUE.
func alias(t testing.TB, s string) devicesv1.Alias {
	t.Helper()
	a, err := devicesv1.ParseAlias(s)
	require.NoError(t, err)
	return a
}

func TestService_CreateKeepsAndFinds(t *testing.T) {
	t.Parallel()
	s := New(open(t, file(t)), Options{})
	_, err := s.CreateBlueprint(t.Context(), devicesv1.Blueprint{Name: "projects/p/blueprints/b"})
	require.NoError(t, err)
	a := alias(t, "boat-network/esn/5551212")
	want, err := s.CreateDevice(t.Context(), devicesv1.Device{
		Name: "projects/p/devices/d", Aliases: []devicesv1.Alias{a}, Blueprint: "projects/p/blueprints/b", Route: "reason",
	})
	require.NoError(t, err)
	require.False(t, want.CreateTime.IsZero())
	require.Equal(t, want.CreateTime, want.UpdateTime)

	got, err := s.Device(t.Context(), "projects/p/devices/d")
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = s.Resolve(t.Context(), "p", a)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = s.Resolve(t.Context(), "q", a)
	require.Equal(t, fault.NotFound, fault.KindOf(err))

	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d"})
	require.Equal(t, fault.Exists, fault.KindOf(err))
	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/q/devices/d", Aliases: []devicesv1.Alias{a}})
	require.NoError(t, err, "an alias is of its project")
}

func TestService_TakenAliasNamesTheHolder(t *testing.T) {
	t.Parallel()
	s := New(open(t, file(t)), Options{})
	a, b := alias(t, "n/k/a"), alias(t, "n/k/b")
	_, err := s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d", Aliases: []devicesv1.Alias{a}})
	require.NoError(t, err)
	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/e", Aliases: []devicesv1.Alias{b, a}})
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.Exists, f.Kind)
	require.Equal(t, "ALIAS_TAKEN", f.Reason)
	require.Equal(t, "projects/p/devices/d", f.Name)
	require.Equal(t, "projects/p/devices/d has the alias n/k/a", f.Message())
	// Nothing of it stayed.
	_, err = s.Device(t.Context(), "projects/p/devices/e")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = s.Resolve(t.Context(), "p", b)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestService_ReadsNothingButItsType(t *testing.T) {
	t.Parallel()
	s := New(open(t, file(t)), Options{})
	_, err := s.CreateBlueprint(t.Context(), devicesv1.Blueprint{Name: "projects/p/blueprints/b"})
	require.NoError(t, err)
	for _, name := range []string{"projects/p/blueprints/b", "", "projects/p/devices/", "projects/p", "b\x00"} {
		_, err := s.Device(t.Context(), name)
		require.Equal(t, fault.NotFound, fault.KindOf(err), name)
	}
	_, err = s.Resolve(t.Context(), "", devicesv1.Alias{})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// Of many that want one alias at the same time exactly one gets it, and all
// others are told who.
func TestService_ConcurrentCreatesOfOneAlias(t *testing.T) {
	t.Parallel()
	s := New(open(t, file(t)), Options{})
	a := alias(t, "n/k/v")
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			_, errs[i] = s.CreateDevice(context.Background(), devicesv1.Device{
				Name: fmt.Sprintf("projects/p/devices/d%d", i), Aliases: []devicesv1.Alias{a},
			})
		})
	}
	all.Wait()
	holder, err := s.Resolve(t.Context(), "p", a)
	require.NoError(t, err)
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			require.Equal(t, holder.Name, fmt.Sprintf("projects/p/devices/d%d", i))
			continue
		}
		require.Equal(t, fault.Exists, fault.KindOf(err), "%v", err)
		require.ErrorContains(t, err, holder.Name)
	}
	require.Equal(t, 1, won)
}

func TestService_RestartKeepsEverything(t *testing.T) {
	t.Parallel()
	path := file(t)
	db, err := sqlite.Open(t.Context(), path, Schema)
	require.NoError(t, err)
	s := New(db, Options{})
	a := alias(t, "n/k/v")
	b, err := s.CreateBlueprint(t.Context(), devicesv1.Blueprint{Name: "projects/p/blueprints/b", Route: "r", Mappings: []devicesv1.Mapping{{
		EventType: "t", TimestampField: "at", Fields: []devicesv1.FieldMapping{{Field: "x/y", Kind: "GAUGE", ValueType: "INT64", Unit: "V", Labels: map[string]string{"side": "=left"}}},
	}}})
	require.NoError(t, err)
	d, err := s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d", Aliases: []devicesv1.Alias{a}, Blueprint: b.Name})
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s = New(open(t, path), Options{})
	got, err := s.Resolve(t.Context(), "p", a)
	require.NoError(t, err)
	require.Equal(t, d, got)
	blueprint, err := s.Blueprint(t.Context(), b.Name)
	require.NoError(t, err)
	require.Equal(t, b, blueprint)
	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/e", Aliases: []devicesv1.Alias{a}})
	require.Equal(t, fault.Exists, fault.KindOf(err))
}

// A database that does not answer must not look like a device that is not
// there, and is asked again.
func TestService_StorageDown(t *testing.T) {
	t.Parallel()
	path := file(t)
	db, err := sqlite.Open(t.Context(), path, Schema)
	require.NoError(t, err)
	s := New(db, Options{})
	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d"})
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Device(ctx, "projects/p/devices/d")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = s.Device(t.Context(), "projects/p/devices/d")
	require.NoError(t, err)

	require.NoError(t, db.Close())
	_, err = s.Device(t.Context(), "projects/p/devices/e")
	require.Equal(t, fault.Internal, fault.KindOf(err))
	_, err = s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/e"})
	require.Equal(t, fault.Internal, fault.KindOf(err))
}

func TestService_HitsDoNotAllocate(t *testing.T) {
	s := New(open(t, file(t)), Options{})
	a := alias(t, "n/k/v")
	_, err := s.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d", Aliases: []devicesv1.Alias{a}})
	require.NoError(t, err)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = s.Device(ctx, "projects/p/devices/d")
		_, _ = s.Resolve(ctx, "p", a)
		_, _ = s.Device(ctx, "projects/p/devices/absent")
		_, _ = s.Blueprint(ctx, "projects/p/blueprints/absent")
	}))
}

func BenchmarkReader(b *testing.B) {
	s := New(open(b, file(b)), Options{})
	ctx := b.Context()
	for i := range 1000 {
		_, err := s.CreateDevice(ctx, devicesv1.Device{
			Name:    fmt.Sprintf("projects/fleet/devices/device-%04d", i),
			Aliases: []devicesv1.Alias{{Network: "boat-network", Key: "esn", Value: fmt.Sprintf("555%04d", i)}},
		})
		require.NoError(b, err)
	}
	names, values := make([]string, 1000), make([]string, 1000)
	for i := range names {
		names[i], values[i] = fmt.Sprintf("projects/fleet/devices/device-%04d", i), fmt.Sprintf("555%04d", i)
	}
	b.Run("Device", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Device(ctx, names[i%1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Resolve", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Resolve(ctx, "fleet", devicesv1.Alias{Network: "boat-network", Key: "esn", Value: values[i%1000]}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Absent", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Blueprint(ctx, "projects/fleet/blueprints/absent"); err == nil {
				b.Fatal("found")
			}
		}
	})
}
