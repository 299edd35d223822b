package serving_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/scale"
	"selvedge.dev/local/cluster/serving/spec"
)

// pods are those of a revision.
func (r *rig) pods(revision string) []object.Object {
	r.t.Helper()
	selector, err := object.ParseSelector(spec.RevisionLabel+"="+revision, "")
	require.NoError(r.t, err)
	list, _ := r.store.List(object.Query{Kind: spec.Pod, Namespace: "shop", Selector: selector})
	return list
}

// quick has functions go soon after their last request.
func quick(o *serving.Options) { o.Scale = scale.Defaults{Window: 150 * time.Millisecond} }

func TestServing_ScalesToZeroAndBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick)
	r.deploy(manifest("nap", "slow"))
	first := r.get("nap/").Pid
	rev := r.wait(spec.Revision, "nap-00001", func(o object.Object) bool { return o.Condition("Active").Reason == "NoTraffic" })
	require.Equal(t, "True", rev.Condition("Ready").Status, "a revision without instances is ready")
	r.wait(spec.Deployment, "nap-00001-deployment", func(o object.Object) bool { return o.Int("status", "replicas") == 0 })
	require.Eventually(t, func() bool { return len(r.pods("nap-00001")) == 0 }, 10*time.Second, time.Millisecond)

	before := r.s.Stats()
	again := r.get("nap/")
	require.NotEqual(t, first, again.Pid)
	stats := r.s.Stats()
	require.Len(t, stats, 1)
	require.Equal(t, before[0].ColdStarts+1, stats[0].ColdStarts, "the request waited for an instance")
	require.GreaterOrEqual(t, stats[0].ColdP99, 300*time.Millisecond)
	require.Equal(t, before[0].Started+1, stats[0].Started)
	require.EqualValues(t, 2, stats[0].Requests)
}

func TestServing_MinScaleStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick)
	r.deploy(manifest("two", "echo", annotation("min-scale", "2")))
	r.wait(spec.Revision, "two-00001", func(o object.Object) bool { return o.Int("status", "actualReplicas") == 2 })
	// A second service lives through its window meanwhile.
	r.deploy(manifest("one", "echo"))
	r.wait(spec.Revision, "one-00001", func(o object.Object) bool { return o.Condition("Active").Reason == "NoTraffic" })
	require.Len(t, r.pods("two-00001"), 2)
}

func TestServing_GrowsWithConcurrency(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) { o.Scale = scale.Defaults{Window: 2 * time.Second} })
	r.deploy(manifest("busy", "echo", at(1, "spec", "template", "spec", "containerConcurrency"), annotation("max-scale", "3")))
	var mu sync.Mutex
	pids := map[string]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for few := true; few; {
				_, body := r.ask("busy/wait?for=30ms")
				mu.Lock()
				pids[body] = true
				few = len(pids) < 3
				mu.Unlock()
			}
		})
	}
	group.Wait()
	r.wait(spec.Revision, "busy-00001", func(o object.Object) bool { return o.Int("status", "actualReplicas") == 3 })
}

func TestServing_UpdateMovesTrafficWithoutAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick)
	r.deploy(manifest("roll", "echo", container("env", `[{"name":"V","value":"1"}]`)))
	ctx, cancel := context.WithCancel(t.Context())
	failures := make(chan string, 1)
	go func() {
		defer close(failures)
		for ctx.Err() == nil {
			if status, body := r.ask("roll/wait?for=5ms"); status != http.StatusOK {
				failures <- body
				return
			}
		}
	}()
	o := r.deploy(manifest("roll", "echo", container("env", `[{"name":"V","value":"2"}]`)))
	require.Equal(t, "roll-00002", o.Text("status", "latestReadyRevisionName"))
	require.Equal(t, "2", r.get("roll/").Env["V"])
	r.wait(spec.Revision, "roll-00001", func(o object.Object) bool {
		return o.Labels()[spec.RoutingStateLabel] == "reserve" && o.Int("status", "actualReplicas") == 0
	})
	cancel()
	require.Empty(t, <-failures)

	// A rollback is traffic to the older revision.
	r.deploy(manifest("roll", "echo", container("env", `[{"name":"V","value":"2"}]`), at(`[{"revisionName":"roll-00001","percent":100}]`, "spec", "traffic")))
	require.Equal(t, "1", r.get("roll/").Env["V"])
}

func TestServing_SplitsAndTags(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("split", "echo", container("env", `[{"name":"V","value":"1"}]`)))
	o := r.deploy(manifest("split", "echo", container("env", `[{"name":"V","value":"2"}]`), at(
		`[{"revisionName":"split-00001","percent":50,"tag":"old"},{"latestRevision":true,"percent":50},{"latestRevision":true,"tag":"next"}]`, "spec", "traffic")))
	seen := map[string]int{}
	for range 100 {
		seen[r.get("split").Env["V"]]++
	}
	require.Greater(t, seen["1"], 20)
	require.Greater(t, seen["2"], 20)
	require.Equal(t, "1", r.get("old-split/x").Env["V"])
	require.Equal(t, "2", r.get("next-split/x").Env["V"])
	traffic, _ := o.Get("status", "traffic").([]any)
	require.Len(t, traffic, 3)
	old, _ := traffic[0].(map[string]any)
	require.Equal(t, r.server.URL+"/functions/shop/old-split", old["url"])
	status, _ := r.ask("none-split/x")
	require.Equal(t, http.StatusNotFound, status)
}

func TestServing_FailuresSayWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	f := func(name string, o object.Object, reason string, message ...string) {
		t.Helper()
		_, err := r.apply(o)
		require.NoError(t, err)
		c := r.ready(name, "False").Condition("Ready")
		require.Equal(t, "RevisionFailed", c.Reason)
		rev := r.wait(spec.Revision, name+"-00001", func(o object.Object) bool { return o.Condition("Ready").Status == "False" }).Condition("Ready")
		require.Equal(t, reason, rev.Reason)
		for _, m := range message {
			require.Contains(t, c.Message, m)
		}
	}
	f("crash", manifest("crash", "crash"), "ExitCode3", "Container failed with: ", "starting crash", "panic: out of luck")
	f("absent", manifest("absent", "absent"), "ContainerMissing", `Unable to fetch image "registry.test/shop/absent:v1"`, "manifest unknown")
	f("unpulled", manifest("unpulled", "missing"), "ImagePullBackOff", "there is no such image")
	f("secretless", manifest("secretless", "echo", container("env", `[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]`)),
		"CreateContainerConfigError", `secret "s" not found`)

	events, _ := r.store.List(object.Query{Kind: object.Key{Name: "Event"}, Namespace: "shop"})
	found := false
	for _, e := range events {
		found = found || (e.Text("involvedObject", "name") == "crash" && e.Text("reason") == "RevisionFailed" && strings.Contains(e.Text("message"), "out of luck"))
	}
	require.True(t, found, "an event of the service says it")

	pod := r.pods("crash-00001")[0]
	l, err := r.s.Logs(t.Context(), "shop", pod.Name(), serving.LogOptions{ReadOptions: podlog.ReadOptions{Tail: -1, Previous: true}})
	require.NoError(t, err)
	require.NoError(t, l.Close())

	// A service heals when what was missing comes.
	secret, err := object.Parse([]byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"shop"},"data":{"k":"djE="}}`))
	require.NoError(t, err)
	_, err = r.apply(secret)
	require.NoError(t, err)
	r.ready("secretless", "True")
	require.Equal(t, "v1", r.get("secretless/").Env["A"])
}

func TestServing_ABadUpdateLeavesTheOldRevision(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("keep", "echo"))
	_, err := r.apply(manifest("keep", "crash"))
	require.NoError(t, err)
	o := r.ready("keep", "False")
	require.Equal(t, "keep-00002", o.Text("status", "latestCreatedRevisionName"))
	require.Equal(t, "keep-00001", o.Text("status", "latestReadyRevisionName"))
	require.Equal(t, "keep-00001", r.get("keep/").Env["K_REVISION"])
}

func TestServing_DeleteEndsEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("gone", "echo", annotation("min-scale", "2")))
	require.Equal(t, 2, r.runner.Running())
	_, err := r.store.Delete(t.Context(), spec.Service, "shop", "gone", object.Preconditions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.runner.Running() == 0 }, 10*time.Second, time.Millisecond)
	status, _ := r.ask("gone/")
	require.Equal(t, http.StatusNotFound, status)
	for _, k := range r.store.Kinds() {
		list, _ := r.store.List(object.Query{Kind: k.Key(), Namespace: "shop"})
		require.Empty(t, list, k.Name)
	}
	// The same name again is another service.
	r.deploy(manifest("gone", "echo"))
	require.Equal(t, "gone-00001", r.get("gone/").Env["K_REVISION"])
}

func TestServing_RestartFindsTheRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("stay", "echo"))
	r.deploy(manifest("warm", "echo", annotation("min-scale", "1")))
	r.stop()
	require.Zero(t, r.runner.Running())
	r.start()
	require.Equal(t, "stay-00001", r.get("stay/").Env["K_REVISION"], "at once, by a cold start")
	r.wait(spec.Revision, "warm-00001", func(o object.Object) bool { return o.Int("status", "actualReplicas") == 1 })
	o := r.wait(spec.Service, "stay", func(o object.Object) bool {
		return o.Text("status", "url") == r.server.URL+"/functions/shop/stay"
	})
	require.Equal(t, "True", o.Condition("Ready").Status)
}

func TestServing_RestartLeavesPastFailuresAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, image := range []string{"crash", "echo"} {
		_, err := r.apply(manifest("fixed", image))
		require.NoError(t, err)
		r.ready("fixed", map[string]string{"crash": "False", "echo": "True"}[image])
	}
	_, err := r.apply(manifest("broken", "crash"))
	require.NoError(t, err)
	r.ready("broken", "False")
	r.stop()
	r.start()
	r.get("fixed/")
	r.wait(spec.Revision, "broken-00001", func(o object.Object) bool { return o.Int("status", "desiredReplicas") == 1 })
	for _, s := range r.s.Stats() {
		require.NotEqual(t, "fixed-00001", s.Revision)
	}
	old, err := r.store.Get(spec.Revision, "shop", "fixed-00001")
	require.NoError(t, err)
	require.Equal(t, "ExitCode3", old.Condition("Ready").Reason)
}

func TestServing_CollectsOldRevisions(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) { o.KeepRevisions = 1 })
	for _, v := range []string{"1", "2", "3", "4"} {
		r.deploy(manifest("old", "echo", container("env", `[{"name":"V","value":"`+v+`"}]`)))
	}
	require.Eventually(t, func() bool {
		list, _ := r.store.List(object.Query{Kind: spec.Revision, Namespace: "shop"})
		return len(list) == 2 && list[0].Name() == "old-00003" && list[1].Name() == "old-00004"
	}, 10*time.Second, time.Millisecond)
}
