package rollup

import (
	"context"
	"errors"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var (
	_ tsdb.Surveyor = (*Keeper)(nil)
	_ tsdb.Deleter  = (*Keeper)(nil)
	_ tsdb.Expirer  = (*Keeper)(nil)
)

// unsupported is the error of a storage that cannot do something.
func unsupported(op string) error {
	return &fault.Error{Op: op, Kind: fault.Unsupported, Err: errors.New("the storage cannot do that")}
}

// Survey implements tsdb.Surveyor, if the storage does.
func (k *Keeper) Survey(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series) error) error {
	if err := visible(sel); err != nil {
		return err
	}
	inner, ok := k.inner.(tsdb.Surveyor)
	if !ok {
		return unsupported("tsdb/rollup.Survey")
	}
	return inner.Survey(ctx, sel, visit)
}

// Delete implements tsdb.Deleter, if the storage does. What is kept of a metric
// that may lose series is forgotten before, and begins anew: so that nothing is
// told of a series that is gone, also after a crash in between.
func (k *Keeper) Delete(ctx context.Context, sel tsdb.Selection) (int, error) {
	const op = "tsdb/rollup.Delete"
	if err := visible(sel); err != nil {
		return 0, err
	}
	inner, ok := k.inner.(tsdb.Deleter)
	if !ok {
		return 0, unsupported(op)
	}
	k.stepping.Lock()
	defer k.stepping.Unlock()
	gone, err := k.drop(ctx, sel.Project, sel.Metric)
	if err != nil {
		return 0, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	n, err := inner.Delete(ctx, sel)
	if err != nil || len(gone) == 0 {
		return n, err
	}
	if err := k.refresh(ctx); err != nil {
		return n, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	return n, k.sweep(ctx, inner, sel.Project, gone)
}

// drop forgets the rollups of a metric, or of all of a project if it is "", and
// returns their ids.
func (k *Keeper) drop(ctx context.Context, project, metric string) (gone []string, err error) {
	next := map[metricID][]*Rule{}
	for id, rules := range *k.rules.Load() {
		if id.project != project || metric != "" && id.metric != metric {
			next[id] = rules
			continue
		}
		if err := k.state.forget(ctx, id); err != nil {
			return nil, err
		}
		for _, r := range rules {
			gone = append(gone, r.ID)
		}
	}
	k.barrier.Lock()
	defer k.barrier.Unlock()
	k.rules.Store(&next)
	return gone, nil
}

// sweep removes the hidden series of rollups that are forgotten.
func (k *Keeper) sweep(ctx context.Context, inner tsdb.Deleter, project string, gone []string) error {
	_, err := inner.Delete(ctx, tsdb.Selection{
		Project: hiddenPrefix + project, MaxSeries: unbounded,
		Keep: func(s *tsdb.Series) bool {
			id, _, _ := strings.Cut(s.Metric, "/")
			for _, one := range gone {
				if id == one {
					return true
				}
			}
			return false
		},
	})
	return wrap("remove what was kept", err)
}

// Expire implements tsdb.Expirer, if the storage does: also of what is kept.
func (k *Keeper) Expire(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	if err := visible(sel); err != nil {
		return 0, err
	}
	inner, ok := k.inner.(tsdb.Expirer)
	if !ok {
		return 0, unsupported("tsdb/rollup.Expire")
	}
	n, err := inner.Expire(ctx, sel, since)
	if err != nil {
		return n, err
	}
	hidden := sel
	hidden.Project, hidden.Metric, hidden.Where = hiddenPrefix+sel.Project, "", nil
	hidden.Keep = func(s *tsdb.Series) bool {
		shown := *s
		var ok bool
		shown.Project, shown.Metric, ok = Origin(s)
		return ok && (sel.Metric == "" || shown.Metric == sel.Metric) && (sel.Keep == nil || sel.Keep(&shown))
	}
	_, err = inner.Expire(ctx, hidden, since)
	return n, wrap("expire what is kept", err)
}

// Gate is a tsdb.Gate that lets through what is kept here, for as long as the
// points that it was made of, and asks another one about everything else.
type Gate struct{ tsdb.Gate }

// Admit implements tsdb.Gate.
func (g Gate) Admit(s *tsdb.Series) (kept time.Duration, refused string) {
	if project, metric, ok := Origin(s); ok {
		return g.Gate.Retention(project, metric), ""
	}
	return g.Gate.Admit(s)
}

// Retention implements tsdb.Gate.
func (g Gate) Retention(project, metric string) time.Duration {
	if origin, of, ok := Origin(&tsdb.Series{Project: project, Metric: metric}); ok {
		return g.Gate.Retention(origin, of)
	}
	if origin, ok := strings.CutPrefix(project, hiddenPrefix); ok {
		return g.Gate.Retention(origin, metric)
	}
	return g.Gate.Retention(project, metric)
}

// Copy calls series, which is to copy the storage, and then database, which is
// to copy the database: so that what is kept and what is known of it belong
// together. Nothing is computed meanwhile by this Keeper.
func (k *Keeper) Copy(ctx context.Context, series, database func() error) error {
	k.stepping.Lock()
	defer k.stepping.Unlock()
	if err := series(); err != nil {
		return err
	}
	if err := k.flush(ctx); err != nil {
		return err
	}
	return database()
}
