package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/policy"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tests/process"
)

// seedsAtOnce is how many objects one transaction of the seed makes.
const seedsAtOnce = 2000

// startOurs runs Selvedge on a new folder with so many devices in SQLite.
func startOurs(ctx context.Context, program, dir string, objects int) (*target, func() error, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	driver, err := sqlite.OpenDriver(ctx, filepath.Join(dir, "resources.db"), sqlite.Options{})
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(seedOurs(ctx, driver, objects), driver.Close()); err != nil {
		return nil, nil, fmt.Errorf("seeding: %w", err)
	}
	return serveOurs(ctx, "Selvedge on SQLite", program, dir)
}

// startOnPostgres is startOurs with the devices in an empty database of
// PostgreSQL.
func startOnPostgres(database string) starter {
	return func(ctx context.Context, program, dir string, objects int) (*target, func() error, error) {
		driver, err := postgres.Open(ctx, database, postgres.Options{})
		if err != nil {
			return nil, nil, err
		}
		if err := errors.Join(seedOurs(ctx, driver, objects), driver.Close()); err != nil {
			return nil, nil, fmt.Errorf("seeding: %w", err)
		}
		return serveOurs(ctx, "Selvedge on PostgreSQL", program, dir, "--database", database)
	}
}

// serveOurs starts the server.
func serveOurs(ctx context.Context, name, program, dir string, args ...string) (*target, func() error, error) {
	p, err := process.Start(ctx, program, dir, args...)
	if err != nil {
		return nil, nil, err
	}
	return ours(name, p.URL, process.AdminKey), func() error { return p.Stop(context.WithoutCancel(ctx)) }, nil
}

// seedOurs makes the devices by the store that the program has, with all that a
// write does, so that they and their indexes are those of devices that were
// created one by one. Only their changes are forgotten.
func seedOurs(ctx context.Context, driver store.Driver, objects int) error {
	types := new(schema.Registry)
	devicesv1.AddTo(types)
	where := &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"}
	st := store.New(driver, types, store.Options{Plugins: plugins.Standard(plugins.Options{})})
	ctx = policy.With(ctx, where)
	if err := st.Reindex(ctx); err != nil { // of nothing: the program need not
		return err
	}
	for from := 0; from < objects; from += seedsAtOnce {
		err := st.Run(ctx, store.Transaction, func(ctx context.Context) error {
			for i := from; i < min(from+seedsAtOnce, objects); i++ {
				if err := st.Save(ctx, seed(i), store.SaveOptions{Create: true, Presume: true}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		snap, seq, err := driver.Snapshot(ctx)
		if err != nil {
			return err
		}
		if err := snap.Close(); err != nil {
			return err
		}
		if err := driver.Trim(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// seed is the i-th device.
func seed(i int) *devicesv1.Device {
	return &devicesv1.Device{
		Name: fmt.Sprintf("projects/default/devices/seed%011d", i), DisplayName: fmt.Sprintf("Robot %d", i), Route: "writer",
		Metadata: &resourcev1.Metadata{Labels: map[string]string{"color": colorOf(i), "site": "north"}},
	}
}
