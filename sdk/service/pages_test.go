package service_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// walk reads all pages of a list, forward or back from its end, and calls
// between before each but the first. It returns how often each name was in one.
func (w *world) walk(ctx context.Context, req *samplev1.ListRobotsRequest, sizes func() int32, between func()) (map[string]int, error) {
	seen := map[string]int{}
	for first := true; ; first = false {
		if !first {
			between()
		}
		req.PageSize = sizes()
		out, err := w.try(ctx, listRobots, req)
		if err != nil {
			return nil, err
		}
		page := out.(*samplev1.ListRobotsResponse)
		for _, r := range page.GetRobots() {
			seen[r.GetName()]++
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return seen, nil
		}
	}
}

// TestList_WholeUnderWrites holds that whatever is created, changed and deleted
// between the pages of a list, what is not written meanwhile is in exactly one.
func TestList_WholeUnderWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, nil)
		name := func() string { return fmt.Sprintf("projects/p/robots/r%02d", rapid.IntRange(0, 29).Draw(rt, "id")) }
		power := func() float64 { return float64(rapid.IntRange(0, 3).Draw(rt, "power")) }
		there, written := map[string]bool{}, map[string]bool{}
		write := func() {
			n := name()
			written[n] = true
			if there[n] && rapid.Bool().Draw(rt, "delete") {
				call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: n})
				delete(there, n)
				return
			}
			call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{AllowMissing: true, UpdateMask: mask("spec.power"), Robot: &samplev1.Robot{Name: n, Spec: &samplev1.RobotSpec{Power: power()}}})
			there[n] = true
		}
		for range rapid.IntRange(0, 40).Draw(rt, "writes") {
			write()
		}
		clear(written)
		before := map[string]bool{}
		for n := range there {
			before[n] = true
		}
		req := &samplev1.ListRobotsRequest{
			Parent:  "projects/p",
			OrderBy: rapid.SampledFrom([]string{"", "name desc", "spec.power", "spec.power desc, name desc"}).Draw(rt, "order"),
			Filter:  rapid.SampledFrom([]string{"", "spec.power >= 0", "NOT display_name = \"x\""}).Draw(rt, "filter"),
		}
		seen, err := w.walk(w.ctx, req, func() int32 { return int32(rapid.IntRange(1, 8).Draw(rt, "size")) }, func() {
			for range rapid.IntRange(0, 3).Draw(rt, "more") {
				write()
			}
		})
		require.NoError(rt, err)
		for n := range before {
			if !written[n] {
				require.Equal(rt, 1, seen[n], n)
			}
		}
		for n, times := range seen {
			require.True(rt, before[n] || written[n], n)
			require.True(rt, times == 1 || written[n] && req.OrderBy != "" && req.OrderBy != "name desc", "%s is there %d times", n, times)
		}
	})
}

// The same while others write all the time.
func TestList_WholeWhileOthersWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 40 {
		w.robot(fmt.Sprintf("stays%02d", i), &samplev1.Robot{})
	}
	ctx, cancel := context.WithCancel(w.ctx)
	var all sync.WaitGroup
	for g := range 2 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				r := &samplev1.Robot{Name: fmt.Sprintf("projects/p/robots/goes%d-%d", g, i%30), DisplayName: fmt.Sprint(i)}
				_, _ = w.try(ctx, updateRobot, &samplev1.UpdateRobotRequest{Robot: r, AllowMissing: true}) // the end of the test is no matter
				_, _ = w.try(ctx, deleteRobot, &samplev1.DeleteRobotRequest{Name: r.GetName(), AllowMissing: true})
			}
		})
	}
	for range 20 {
		seen, err := w.walk(w.ctx, &samplev1.ListRobotsRequest{Parent: "projects/p"}, func() int32 { return 7 }, func() {})
		require.NoError(t, err)
		for i := range 40 {
			require.Equal(t, 1, seen[fmt.Sprintf("projects/p/robots/stays%02d", i)])
		}
	}
	cancel()
	all.Wait()
}
