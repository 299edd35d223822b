package service_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/iam/access"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/watch"
)

// watching is a watch of ada's that goes on.
type watching struct {
	cancel func()
	done   chan struct{}
	// robots are those that she was shown, rows the page of a STATEFUL watch.
	robots map[string]string
	rows   []string
	token  string
	// next is whether there is another page.
	next bool
	// first is what she was told first.
	first proto.Message
	// names are all that she was ever told of.
	names map[string]bool
}

// open begins a watch, which goes on with what was known.
func (x *watching) open(t *testing.T, w *world, method string, req proto.Message) {
	t.Helper()
	ctx, cancel := context.WithCancel(asAda())
	x.cancel, x.done = cancel, make(chan struct{})
	go func() {
		defer close(x.done)
		_ = w.Stream(ctx, w.method(method), req, func(m proto.Message) error {
			if x.first == nil {
				x.first = m
			}
			switch r := m.(type) {
			case *samplev1.WatchRobotResponse:
				x.one(r)
			case *samplev1.WatchRobotsResponse:
				x.many(r)
			}
			return nil
		})
	}()
	synctest.Wait()
}

// close ends it.
func (x *watching) close() {
	x.cancel()
	<-x.done
}

// one applies a response of a watch of one robot.
func (x *watching) one(r *samplev1.WatchRobotResponse) {
	if name := r.GetRemoved(); name != "" {
		delete(x.robots, name)
		return
	}
	for _, m := range []*samplev1.Robot{r.GetCurrent(), r.GetChanged()} {
		if m != nil {
			x.robots[m.GetName()] = m.GetSpec().GetColor()
		}
	}
}

// many applies a response of a watch of several.
func (x *watching) many(r *samplev1.WatchRobotsResponse) {
	if r.GetIsHardReset() {
		clear(x.robots)
	}
	for _, c := range r.GetRobotChanges() {
		if gone := c.GetRemoved(); gone != nil {
			x.names[gone.GetName()] = true
			delete(x.robots, gone.GetName())
			if i := int(gone.GetViewIndex()); i < len(x.rows) {
				x.rows = slices.Delete(x.rows, i, i+1)
			}
			continue
		}
		set := c.GetSet()
		x.names[set.GetRobot().GetName()] = true
		x.robots[set.GetRobot().GetName()] = set.GetRobot().GetSpec().GetColor()
		if i := int(set.GetPreviousViewIndex()); !set.GetIsNew() && i < len(x.rows) {
			x.rows = slices.Delete(x.rows, i, i+1)
		}
		if i := int(set.GetViewIndex()); i <= len(x.rows) {
			x.rows = slices.Insert(x.rows, i, set.GetRobot().GetName())
		}
	}
	if r.GetIsCurrent() {
		x.token, x.next = r.GetResumeToken(), r.GetNextPageToken() != ""
	}
}

// newWatching is a watch of which nothing is known.
func newWatching() *watching {
	return &watching{robots: map[string]string{}, names: map[string]bool{}}
}

// What a watcher has is always exactly what a list would show him: what is no
// longer his is removed, what becomes his comes, and of all else he is told
// nothing, also when he resumes. Of one robot he cannot tell one that is not his
// from none.
func TestTerms_Watch(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { watchTerms(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

// watchTerms is the test with a seed.
func watchTerms(t *testing.T, r *rand.Rand) {
	var hub lateHub
	w, e := newTerms(t, func(o *service.Options) { o.Hub = &hub })
	pages, err := service.NewPages(nil)
	require.NoError(t, err)
	hub.Hub = watch.NewHub(w.store, watch.HubOptions{Pages: pages})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	grant(t, e, []string{"", "projects/p"}[r.IntN(2)], "red", nil, access.Grant{Permissions: []string{"sample.robots.list", "sample.robots.watch"}, Fields: isRed})

	stored, everRed := map[string]string{}, map[string]bool{}
	change := func() {
		name := fmt.Sprintf("projects/p/robots/r%d", r.IntN(5))
		color := []string{"red", "blue", "green"}[r.IntN(3)]
		switch {
		case r.IntN(4) > 0:
			stored[name] = color
			everRed[name] = everRed[name] || color == "red"
			call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{AllowMissing: true, Robot: &samplev1.Robot{
				Name: name, DisplayName: fmt.Sprint(r.Uint32()), Spec: &samplev1.RobotSpec{Color: color},
			}})
		case stored[name] != "":
			delete(stored, name)
			call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: name})
		}
		synctest.Wait()
	}
	for range r.IntN(6) {
		change()
	}
	all, page, one := newWatching(), newWatching(), newWatching()
	t.Cleanup(func() { all.close(); page.close(); one.close() })
	const name = "projects/p/robots/r0"
	open := func() {
		all.open(t, w, "RobotService.WatchRobots", &samplev1.WatchRobotsRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/p", ResumeToken: all.token})
	}
	open()
	page.open(t, w, "RobotService.WatchRobots", &samplev1.WatchRobotsRequest{Type: resourcev1.WatchType_STATEFUL, Parent: "projects/p", PageSize: 3})
	one.open(t, w, "RobotService.WatchRobot", &samplev1.WatchRobotRequest{Name: name})
	for range 25 {
		if r.IntN(6) == 0 {
			all.close()
			change()
			open()
		}
		red, rows := map[string]string{}, []string(nil)
		for n, color := range stored {
			if color == "red" {
				red[n] = color
				rows = append(rows, n)
			}
		}
		slices.Sort(rows)
		require.Equal(t, red, all.robots)
		require.Equal(t, rows[:min(3, len(rows))], slices.Concat(page.rows))
		require.Equal(t, len(rows) > 3, page.next, "whether there is a next page")
		require.Equal(t, red[name], one.robots[name])
		for n := range all.names {
			require.True(t, everRed[n], n)
		}
		change()
	}
}

// Who watches from a time on is told of what is no longer his, and not of what
// never was.
func TestTerms_WatchSince(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hub lateHub
		w, e := newTerms(t, func(o *service.Options) { o.Hub = &hub })
		hub.Hub = watch.NewHub(w.store, watch.HubOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		grant(t, e, "projects/p", "red", nil, access.Grant{Permissions: []string{"sample.robots.watch"}, Fields: isRed})
		w.robot("mine", painted("mine", "red"))
		w.robot("other", painted("other", "blue"))
		w.robot("last", painted("last", "blue"))
		var said []*samplev1.WatchRobotResponse
		for _, id := range []string{"other", "none"} {
			one := newWatching()
			one.open(t, w, "RobotService.WatchRobot", &samplev1.WatchRobotRequest{Name: "projects/p/robots/" + id})
			one.close()
			said = append(said, one.first.(*samplev1.WatchRobotResponse))
		}
		require.Equal(t, "projects/p/robots/other", said[0].GetRemoved())
		require.Equal(t, said[1].GetResourceVersion(), said[0].GetResourceVersion(), "not even when it was changed")

		x := newWatching()
		x.robots["projects/p/robots/mine"] = "red"
		w.now = w.now.Add(time.Hour)
		x.open(t, w, "RobotService.WatchRobots", &samplev1.WatchRobotsRequest{
			Type: resourcev1.WatchType_STATELESS, Parent: "projects/p", StartingTime: timestamppb.New(w.now.Add(-time.Minute)),
		})
		paint := func(id, color string) {
			call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: painted(id, color), UpdateMask: mask("spec.color")})
			synctest.Wait()
		}
		paint("other", "green")
		require.Empty(t, x.names)
		paint("mine", "green")
		require.Empty(t, x.robots)
		paint("other", "red")
		require.Equal(t, map[string]string{"projects/p/robots/other": "red"}, x.robots)
		x.close()
		cancel()
		require.NoError(t, <-done)
	})
}

// lateHub is a hub that is made after the service.
type lateHub struct{ *watch.Hub }
