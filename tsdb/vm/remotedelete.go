package vm

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

var (
	_ tsdb.Deleter = (*Remote)(nil)
	_ tsdb.Expirer = (*Remote)(nil)
)

// matchBytes bounds the matchers of one request, about: they go in its URL.
const matchBytes = 64 << 10

// Delete implements tsdb.Deleter; what of the disk is freed is as in
// Store.Delete. The server must not want an authKey for it. Series that another
// writer appends to meanwhile may or may not be removed.
func (r *Remote) Delete(ctx context.Context, sel tsdb.Selection) (int, error) {
	return r.drop(ctx, "tsdb/vm.Remote.Delete", sel, noLife)
}

// Expire implements tsdb.Expirer.
func (r *Remote) Expire(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	return r.drop(ctx, "tsdb/vm.Remote.Expire", sel, since)
}

// drop deletes the series without a point since then.
func (r *Remote) drop(ctx context.Context, op string, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	if err := r.useToWrite(op); err != nil {
		return 0, err
	}
	defer r.users.Done()
	if err := needsProject(op, sel); err != nil {
		return 0, err
	}
	n, err := r.forget(ctx, sel, since)
	if err == nil && n > 0 {
		r.added.Add(1) // for the sync: the deletion has to reach the disk
		err = r.advance(ctx, r.durable, 0, r.persist)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	return n, nil
}

// forget finds the series and deletes them, while nothing is appended here.
func (r *Remote) forget(ctx context.Context, sel tsdb.Selection, since tsdb.Millis) (int, error) {
	r.adding.Lock()
	defer r.adding.Unlock()
	if err := r.reveal(ctx); err != nil {
		return 0, err
	}
	r.visible.mark.Store(r.added.Load()) // and the matchers are new ones
	fill(&sel.MaxSeries, r.options.MaxSeries)
	d := &remoteDeletion{keys: map[string]map[string]bool{}}
	all := sel
	all.Keep, all.Where = nil, nil
	// The server refuses times before it began to count.
	end := int64(r.options.kept(time.Now(), openSlack).End)
	if since != noLife {
		d.spared = newSeen()
		living := storage.TimeRange{MinTimestamp: int64(since), MaxTimestamp: end}
		if err := r.survey(ctx, all, living, func(s *tsdb.Series) error { d.spared.add(s); return nil }); err != nil {
			return 0, err
		}
	}
	everything := storage.TimeRange{MinTimestamp: int64(firstMillis), MaxTimestamp: end}
	if err := r.survey(ctx, all, everything, func(s *tsdb.Series) error { return d.see(&sel, s) }); err != nil {
		return 0, err
	}
	if len(d.series) == 0 {
		return 0, nil
	}
	for _, matchers := range d.matchers(r, sel) {
		answer, err := r.do(ctx, request{
			method: http.MethodPost, at: r.remove, path: "/api/v1/admin/tsdb/delete_series", params: url.Values{"match[]": matchers},
		})
		if err != nil {
			return 0, err
		}
		if err := answer.Close(); err != nil {
			return 0, unavailable("/api/v1/admin/tsdb/delete_series", err)
		}
	}
	return len(d.series), nil
}

// remoteDeletion is a Delete under way.
type remoteDeletion struct {
	series []*tsdb.Series
	// spared are the series with newer points, nil when there is no difference.
	spared *seen
	// keys are the labels that the series of a metric have.
	keys map[string]map[string]bool
}

// see notes a series.
func (d *remoteDeletion) see(sel *tsdb.Selection, s *tsdb.Series) error {
	if d.keys[s.Metric] == nil {
		d.keys[s.Metric] = map[string]bool{}
	}
	for _, l := range labelsOf(s) {
		if !d.keys[s.Metric][l.Name] {
			d.keys[s.Metric][l.Name] = true
		}
	}
	if sel.Keep != nil && !sel.Keep(s) || d.spared != nil && d.spared.has(s) {
		return nil
	}
	d.series = append(d.series, s)
	return bound("series", len(d.series), sel.MaxSeries)
}

// matchers match the series to delete and no others, in parts for a request
// each: the whole metric or project, or every label of a series with its value
// and no label more.
func (d *remoteDeletion) matchers(r *Remote, sel tsdb.Selection) [][]string {
	if sel.Keep == nil && d.spared == nil {
		return [][]string{{(&export{remote: r, sel: sel}).matcher()}}
	}
	var parts [][]string
	size := matchBytes
	for _, s := range d.series {
		m := "{" + freshLabel + "!=" + strconv.Quote(strconv.FormatUint(r.visible.mark.Load(), 10))
		absent := maps.Clone(d.keys[s.Metric])
		for _, l := range labelsOf(s) {
			delete(absent, l.Name)
			m += "," + strconv.Quote(l.Name) + "=" + strconv.Quote(l.Value)
		}
		for _, name := range slices.Sorted(maps.Keys(absent)) {
			m += "," + strconv.Quote(name) + `=""`
		}
		m += "}"
		if size += len(m); size > matchBytes {
			parts, size = append(parts, nil), len(m)
		}
		last := &parts[len(parts)-1]
		*last = append(*last, m)
	}
	return parts
}
