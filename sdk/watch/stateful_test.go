package watch_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/filter"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// screen is who looks at a page.
type screen struct {
	rows       []*samplev1.Robot
	next, prev string
	// changes counts those that came.
	changes int
}

// apply applies responses of a stateful watch.
func (s *screen) apply(t require.TestingT, responses ...*samplev1.WatchRobotsResponse) *screen {
	for _, r := range responses {
		require.True(t, r.GetIsCurrent())
		require.Empty(t, r.GetResumeToken())
		for _, c := range r.GetRobotChanges() {
			s.changes++
			if c.GetRemoved() != nil {
				i := int(c.GetRemoved().GetViewIndex())
				require.Equal(t, s.rows[i].GetName(), c.GetRemoved().GetName())
				s.rows = slices.Delete(s.rows, i, i+1)
				continue
			}
			set := c.GetSet()
			if !set.GetIsNew() {
				i := int(set.GetPreviousViewIndex())
				require.Equal(t, s.rows[i].GetName(), set.GetRobot().GetName())
				s.rows = slices.Delete(s.rows, i, i+1)
			}
			s.rows = slices.Insert(s.rows, int(set.GetViewIndex()), set.GetRobot())
		}
		s.next, s.prev = r.GetNextPageToken(), r.GetPrevPageToken()
	}
	return s
}

// stateful watches a page of robots.
func (w *world) stateful(req *samplev1.WatchRobotsRequest, visible watch.Visible) *tap[*samplev1.WatchRobotsResponse] {
	req.Type = resourcev1.WatchType_STATEFUL
	return open[*samplev1.WatchRobotsResponse](w, w.all, req, visible)
}

// ids are the ids and display names of the rows.
func (s *screen) ids() (out []string) {
	for _, r := range s.rows {
		out = append(out, r.GetName()[len(name("")):]+r.GetDisplayName())
	}
	return out
}

// SPEC 1.F 37: the page comes whole, then its changes with their indexes: what
// moves, what comes from behind when something leaves, and the tokens around.
func TestStateful_Page(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.save(robot("a", "1", 1), robot("b", "1", 2), robot("c", "1", 3), robot("d", "1", 4))
		x := w.stateful(&samplev1.WatchRobotsRequest{Parent: "projects/p", OrderBy: "spec.power", PageSize: 2}, nil)
		got := x.take()
		require.Len(w.t, got, 1)
		s := new(screen).apply(w.t, got...)
		require.Equal(w.t, []string{"a1", "b1"}, s.ids())
		require.Empty(w.t, s.prev)
		y := w.stateful(&samplev1.WatchRobotsRequest{Parent: "projects/p", OrderBy: "spec.power", PageSize: 2, PageToken: s.next}, nil)
		second := new(screen).apply(w.t, y.take()...)
		require.Equal(w.t, []string{"c1", "d1"}, second.ids())
		require.Empty(w.t, second.next)

		f := func(act func(), first, then []string) {
			w.t.Helper()
			act()
			require.Equal(w.t, first, s.apply(w.t, x.take()...).ids())
			require.Equal(w.t, then, second.apply(w.t, y.take()...).ids())
		}
		f(func() { w.save(robot("b", "2", 2)) }, []string{"a1", "b2"}, []string{"c1", "d1"})
		f(func() { w.save(robot("a", "2", 2.5)) }, []string{"b2", "a2"}, []string{"a2", "c1"})
		require.NotEmpty(w.t, second.next)
		f(func() { w.remove("b") }, []string{"a2", "c1"}, []string{"a2", "c1"})
		f(func() { w.save(robot("e", "1", 0), robot("d", "2", 4)) }, []string{"e1", "a2"}, []string{"a2", "c1"})
		f(func() { w.remove("d") }, []string{"e1", "a2"}, []string{"a2", "c1"})
		require.Empty(w.t, second.next)

		z := w.stateful(&samplev1.WatchRobotsRequest{Parent: "projects/p", OrderBy: "spec.power", PageSize: 2, PageToken: second.prev}, nil)
		before := new(screen).apply(w.t, z.take()...)
		require.Equal(w.t, []string{"e1"}, before.ids())
		w.save(robot("f", "1", 2.2), robot("g", "1", -1))
		require.Equal(w.t, []string{"e1", "f1"}, before.apply(w.t, z.take()...).ids())
	})
}

// TestStateful_MaskAndSight shows 43 for pages: what is masked out is not told,
// and that what is not seen leaves no gap.
func TestStateful_MaskAndSight(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		s := &sight{hidden: map[string]bool{"b": true}}
		w.save(robot("a", "1", 1), robot("b", "1", 2), robot("c", "1", 3))
		x := w.stateful(&samplev1.WatchRobotsRequest{
			Parent: "projects/p", PageSize: 2, ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "spec.pin"}},
		}, s.visible)
		page := new(screen).apply(w.t, x.take()...)
		require.Equal(w.t, []string{"a1", "c1"}, page.ids())
		require.Empty(w.t, page.rows[0].GetSpec().GetPin())
		w.save(robot("a", "1", 7), robot("b", "2", 7))
		require.Empty(w.t, x.take())
		s.hide("b", false)
		w.save(robot("b", "3", 7))
		require.Equal(w.t, []string{"a1", "b3"}, page.apply(w.t, x.take()...).ids())
		s.hide("a", true)
		w.save(robot("a", "1", 8))
		require.Equal(w.t, []string{"b3", "c1"}, page.apply(w.t, x.take()...).ids())
	})
}

// SPEC 1.F 37: after every response the page is what a list would give.
func TestStateful_IsTheList(t *testing.T) {
	t.Parallel()
	seeds(t, 200, func(t *testing.T, r *rand.Rand) {
		w := newWorld(t, newMemory(), watch.HubOptions{Recent: oneOf(r, 0, 2), Behind: oneOf(r, 0, 1)})
		power := func() float64 { return float64(r.IntN(5)) }
		w.write(func(ctx context.Context) {
			for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
				w.set(ctx, robot(id, "0", power()))
			}
		})
		req := &samplev1.WatchRobotsRequest{
			Parent:   "projects/p",
			Filter:   oneOf(r, "", "spec.power > 0", "display_name != \"3\""),
			OrderBy:  oneOf(r, "", "name desc", "spec.power", "spec.power desc, name desc", "spec.power desc"),
			PageSize: int32(1 + r.IntN(5)),
		}
		order, err := filter.ParseOrder(w.robot, req.GetOrderBy())
		require.NoError(t, err)
		for range r.IntN(3) { // pages on, or back
			first := w.stateful(proto.CloneOf(req), nil)
			s := new(screen).apply(t, first.take()...)
			first.stop()
			if token := oneOf(r, s.next, s.prev); token != "" {
				req.PageToken = token
			}
		}
		after, reverse := (*store.Position)(nil), false
		if req.GetPageToken() != "" {
			after, reverse, err = pages{}.Open(req.GetPageToken(), string(w.all.Name), req.GetParent(), canonical(w, req.GetFilter()), order.String())
			require.NoError(t, err)
		}
		x, s := w.stateful(req, nil), new(screen)
		for i := range 20 {
			s.apply(t, x.take()...)
			want := w.list("projects/p", req.GetFilter(), func(q *store.Query) {
				q.Order, q.Limit, q.After, q.Reverse = order, int(req.GetPageSize()), after, reverse
			})
			require.Len(t, s.rows, len(want))
			for j := range want {
				require.True(t, proto.Equal(want[j], s.rows[j]), "%v\n%v", want, s.rows)
			}
			release := func() {}
			if r.IntN(4) == 0 {
				release = x.block()
			}
			for range 1 + r.IntN(4) {
				id := oneOf(r, "a", "b", "c", "d", "e", "f", "g", "h")
				if r.IntN(4) == 0 {
					w.drop(id)
				} else {
					w.save(robot(id, strconv.Itoa(i), power()))
				}
			}
			if r.IntN(6) == 0 {
				require.NoError(t, w.st.Driver().Trim(t.Context(), 1<<40))
			}
			release()
		}
	})
}
