package platform

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb/guard"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// openSeries opens the store of points, with the guard that keeps the bounds of
// projects. The guard lets everything pass until what comes again after a crash
// was taken. What is written goes through the keeper of the rollups.
func (p *Platform) openSeries(ctx context.Context) error {
	p.guard = guard.New(guard.Options{MaxSeries: p.config.MaxSeries, Bounds: p.metrics})
	options := vm.Options{Describe: p.metrics.Describe, Gate: rollup.Gate{Gate: p.guard}, Logger: p.log}
	store, err := p.connectSeries(options)
	if err != nil {
		return err
	}
	p.onClose(store.Close)
	p.guard.Watch(store)
	p.series = store
	p.rollups, err = rollup.New(ctx, store, p.db, rollup.Options{
		Rolled: p.metrics.Rolled, Retention: vm.DefaultRetention, Kept: p.metrics.Retention, Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.onClose(p.rollups.Close)
	p.operations = &monitoring.Operations{
		Store: p.rollups, Bounds: p.metrics, Guard: p.guard, Settle: p.settle, Retention: vm.DefaultRetention,
	}
	return nil
}

// connectSeries opens the store of points where the configuration says.
func (p *Platform) connectSeries(options vm.Options) (monitoring.Operable, error) {
	cluster := p.config.SeriesCluster
	switch clustered := cluster.Write+cluster.Read+cluster.Delete != "" || len(cluster.Nodes) > 0; {
	case clustered && p.config.Series != "":
		return nil, &fault.Error{
			Op: "platform.openSeries", Kind: fault.Invalid, Field: "series", Err: errors.New("points are kept by one server, or by a cluster, and not by both"),
		}
	case clustered:
		return vm.ConnectCluster(cluster, options)
	case p.config.Series != "":
		return vm.Connect(p.config.Series, options)
	}
	return vm.Open(filepath.Join(p.config.Data, "series"), options)
}

// settle returns when what was acknowledged is in the store, and on disk there,
// and no log has it any more. When ctx ends before, so much of that is done as
// can be.
func (p *Platform) settle(ctx context.Context) error {
	late := p.broker.Settle(ctx)
	if err := p.collector.Sync(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return late
}

// expireEvery is how often series are looked for that are older than their
// retention. They are told nobody before either; it is the disk that waits.
const expireEvery = time.Hour

// runExpiry removes the series that are older than their retention, until ctx
// ends.
func (p *Platform) runExpiry(ctx context.Context) error {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.metrics.Retained(func(project, metric string, retention time.Duration) {
			n, err := p.operations.Expire(ctx, project, metric, retention)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				p.log.ErrorContext(ctx, "series not expired", slog.String("project", project), slog.String("metric", metric), slog.Any("error", err))
			case n > 0:
				p.log.InfoContext(ctx, "series expired", slog.String("project", project), slog.String("metric", metric), slog.Int("series", n))
			}
		})
	}
}
