package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/storetest/memory"
)

// list reads a page.
func (w *world) list(q store.Query) *store.Page {
	w.t.Helper()
	var page *store.Page
	require.NoError(w.t, w.Run(w.ctx, store.Consistent, func(ctx context.Context) (err error) {
		page, err = w.List(ctx, w.robots, q)
		return err
	}))
	return page
}

// ids are the ids of the objects of a page.
func (w *world) ids(p *store.Page) []string {
	out := []string{}
	for _, m := range p.Objects {
		out = append(out, w.robots.NameOf(m).ID())
	}
	return out
}

// query makes a query of texts.
func (w *world) query(parent, where, order string, limit int) store.Query {
	w.t.Helper()
	q := store.Query{Limit: limit}
	var err error
	if parent != "" {
		q.Parent, err = schema.ParseParent(w.robots, parent)
		require.NoError(w.t, err)
	}
	q.Filter, err = filter.Parse(w.robots, where)
	require.NoError(w.t, err)
	q.Order, err = filter.ParseOrder(w.robots, order)
	require.NoError(w.t, err)
	return q
}

// machine is a robot with what lists look at.
func machine(name string, power float64, color string) *samplev1.Robot {
	return &samplev1.Robot{Name: name, DisplayName: "the " + color + " robot", Spec: &samplev1.RobotSpec{Power: power, Color: color}}
}

func TestList_FiltersOrdersAndFinds(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(machine("projects/p/robots/a", 3, "red"), machine("projects/p/robots/b", 1, "red"), machine("projects/p/robots/c", 2, "blue"),
		machine("projects/p/regions/eu/robots/d", 2, "red"), machine("projects/q/robots/e", 9, "red"), machine("projects/pp/robots/f", 9, "rose"))
	f := func(parent, where, order string, want ...string) {
		t.Helper()
		q := w.query(parent, where, order, 10)
		q.Count = true
		p := w.list(q)
		require.Equal(t, want, w.ids(p))
		require.Nil(t, p.Next)
		require.Nil(t, p.Prev)
		require.Equal(t, int64(len(want)), p.Total)
	}
	f("", "", "", "d", "a", "b", "c", "f", "e")
	f("projects/p", "", "", "a", "b", "c")
	f("projects/-", "", "", "a", "b", "c", "f", "e")
	f("projects/p/regions/-", "", "", "d")
	f("projects/p", "", "name desc", "c", "b", "a")
	f("projects/p", "", "spec.power", "b", "c", "a")
	f("projects/p", "", "spec.power desc, name desc", "a", "c", "b")
	f("", "spec.power = 2", "", "d", "c")
	f("projects/p", "spec.color = 'red'", "", "a", "b")               // by no index
	f("projects/p", "spec.color = 'red' AND spec.power > 1", "", "a") // by one in part
	f("", "name = 'projects/p/robots/b' OR spec.power = 9", "", "b", "f", "e")
	f("", "name = 'projects/p/robots/b'", "", "b")
	f("", "name < 'projects/p/robots/b'", "", "d", "a")

	q := w.query("projects/p", "", "", 10)
	q.Phrase = "blue rob"
	require.Equal(t, []string{"c"}, w.ids(w.list(q)))
	q.Phrase = "the r"
	require.Equal(t, []string{"a", "b", "c"}, w.ids(w.list(q)))

	q.Phrase = ""
	q.Visible = func(n resource.Name) bool { return n.ID() != "b" }
	q.Count = true
	p := w.list(q)
	require.Equal(t, []string{"a", "c"}, w.ids(p))
	require.Equal(t, int64(2), p.Total)
}

func TestList_RefusesNonsense(t *testing.T) {
	t.Parallel()
	w := open(t)
	require.NoError(t, w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
		_, err := w.List(ctx, w.robots, store.Query{})
		refused(t, err, fault.Invalid, "INVALID_PAGE")
		_, err = w.List(ctx, w.robots, store.Query{Limit: 1, After: &store.Position{Values: [][]byte{{1}}}})
		refused(t, err, fault.Invalid, "INVALID_PAGE")
		_, err = w.List(ctx, w.robots, store.Query{Limit: 1, Phrase: "!"})
		refused(t, err, fault.Invalid, "INVALID_PHRASE")
		return nil
	}))
}

// Whatever the query, the pages one after the other are all that matches in its
// order, backward they are the same, and offsets and totals are right.
func TestList_PagesAreTheWhole(t *testing.T) {
	t.Parallel()
	drivers(t, pagesAreTheWhole)
}

// pagesAreTheWhole is the test on one driver.
func pagesAreTheWhole(t *testing.T, w *world) {
	var all []proto.Message
	for i := range 100 {
		m := machine(fmt.Sprintf("projects/p%d/robots/r%03d", i%2, i), float64(i%7), []string{"red", "blue", "green"}[i%3])
		if i%5 == 0 {
			m.Name = fmt.Sprintf("projects/p%d/regions/eu/robots/r%03d", i%2, i)
		}
		all = append(all, m)
	}
	w.save(all...)
	rapid.Check(t, func(r *rapid.T) {
		q := w.query(
			rapid.SampledFrom([]string{"", "projects/p0", "projects/-", "projects/p1/regions/-"}).Draw(r, "parent"),
			rapid.SampledFrom([]string{"", "spec.power < 3", "spec.color = 'red'", "spec.power = 1 AND spec.color != 'red'", "spec.power > 90"}).Draw(r, "filter"),
			rapid.SampledFrom([]string{"", "name desc", "spec.power", "spec.power desc", "spec.power desc, name desc", "spec.power, name desc"}).Draw(r, "order"),
			rapid.IntRange(1, 60).Draw(r, "limit"),
		)
		if rapid.Bool().Draw(r, "visible") {
			q.Visible = func(n resource.Name) bool { return n[len(n)-1] != '4' }
		}
		q.Count = true
		var want []proto.Message
		for _, m := range all {
			n := w.robots.NameOf(m)
			if q.Parent.Match(n) && q.Filter.Match(m.ProtoReflect()) && (q.Visible == nil || q.Visible(n)) {
				want = append(want, m)
			}
		}
		slices.SortFunc(want, func(a, b proto.Message) int { return q.Order.Compare(a.ProtoReflect(), b.ProtoReflect()) })
		ids := w.ids(&store.Page{Objects: want})

		forward, last := []string{}, (*store.Page)(nil)
		for {
			p := w.list(q)
			require.Equal(r, int64(len(forward)), p.Offset)
			require.Equal(r, int64(len(want)), p.Total)
			forward = append(forward, w.ids(p)...)
			last = p
			if p.Next == nil {
				break
			}
			require.Len(r, p.Objects, q.Limit)
			q.After = p.Next
		}
		require.Equal(r, ids, forward)

		backward := w.ids(last)
		q.Reverse = true
		for q.After = last.Prev; q.After != nil; {
			p := w.list(q)
			backward = append(w.ids(p), backward...)
			require.Equal(r, int64(len(want)-len(backward)), p.Offset)
			q.After = p.Prev
		}
		require.Equal(r, ids, backward)

		q.After = nil // from the end
		p := w.list(q)
		require.Equal(r, ids[max(0, len(ids)-q.Limit):], w.ids(p))
	})
}

// Pages do not shift when objects come and go before them.
func TestList_PagesDoNotShift(t *testing.T) {
	t.Parallel()
	w := open(t)
	for i := range 10 {
		w.save(machine(fmt.Sprintf("projects/p/robots/r%d", i), 1, "red"))
	}
	q := w.query("projects/p", "", "", 4)
	first := w.list(q)
	w.save(machine("projects/p/robots/a", 1, "red"))
	require.NoError(t, w.do(func(ctx context.Context) error {
		return w.Delete(ctx, w.robots, robot("r3"), store.DeleteOptions{}) // the position itself
	}))
	q.After = first.Next
	second := w.list(q)
	require.Equal(t, []string{"r4", "r5", "r6", "r7"}, w.ids(second))
	q.After, q.Reverse = second.Prev, true
	require.Equal(t, []string{"a", "r0", "r1", "r2"}, w.ids(w.list(q)))

	// What was before a page may be gone: then the beginning is there.
	q = w.query("projects/p", "", "", 4)
	q.Reverse, q.After = true, &store.Position{Name: "projects/p/robots/a"}
	p := w.list(q)
	require.Equal(t, []string{"a", "r0", "r1", "r2"}, w.ids(p))
	require.Nil(t, p.Prev)
}

// A query that no index answers gives up now and then, and goes on from there.
func TestList_IsBounded(t *testing.T) {
	t.Parallel()
	d := &endlessDriver{Driver: memory.New()}
	w := openOn(t, d, d.Driver)
	q := w.query("", "spec.color = 'red'", "", 5)
	q.Count = true
	p := w.list(q)
	require.Empty(t, p.Objects)
	require.NotNil(t, p.Next)
	require.Equal(t, int64(-1), p.Total)
	require.Equal(t, 100_001, d.scanned)
}

// endlessDriver has any number of blue robots.
type endlessDriver struct {
	*memory.Driver
	scanned int
}

// Snapshot implements [store.Driver].
func (d *endlessDriver) Snapshot(ctx context.Context) (store.Snapshot, store.Seq, error) {
	s, seq, err := d.Driver.Snapshot(ctx)
	return &endlessSnapshot{s, d}, seq, err
}

// endlessSnapshot is a snapshot of it.
type endlessSnapshot struct {
	store.Snapshot
	d *endlessDriver
}

// Scan implements [store.Snapshot].
func (s *endlessSnapshot) Scan(_ context.Context, q store.Scan, yield func(*store.Record) bool) error {
	body, err := proto.Marshal(&samplev1.Robot{Name: "projects/p/robots/a", Metadata: &resourcev1.Metadata{}})
	for range q.Limit {
		s.d.scanned++
		if !yield(&store.Record{Type: q.Type, Name: "projects/p/robots/a", Version: 1, Body: body}) {
			break
		}
	}
	return err
}
