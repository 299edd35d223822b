package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/audittest"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/sdk/watch"
)

// planted is in every secret here, and must be in no record.
const planted = "PLANTED-SECRET"

func TestRecorder_UpdateSaysWhoAndWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{DisplayName: "one", Spec: &samplev1.RobotSpec{Color: "red", Pin: planted}})
	ctx := iam.WithAddress(as("projects/p"), netip.MustParseAddr("10.1.2.3"))
	_, err := w.try(ctx, "RobotService.UpdateRobot", &samplev1.UpdateRobotRequest{
		Robot:      &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Color: "blue", Pin: planted + "2"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.color", "spec.pin"}}, RequestId: "req-1",
	})
	require.NoError(t, err)

	a := w.last()
	require.Equal(t, resourcev1.ActivityLog_SPEC_UPDATE, a.GetCategory())
	require.Equal(t, []string{"projects/p", "k-p", "10.1.2.3", "req-1"}, []string{a.GetPrincipal(), a.GetKeyId(), a.GetClientAddress(), a.GetRequestId()})
	require.Equal(t, []string{"sample.selvedge.dev", "eu", "here", "selvedge.sample.v1.RobotService.UpdateRobot", "v1"},
		[]string{a.GetService(), a.GetRegion(), a.GetHost(), a.GetMethod(), a.GetVersion()})
	require.Equal(t, []string{"projects/p/robots/r", "sample.selvedge.dev/Robot"}, []string{a.GetResource(), a.GetResourceType()})
	require.Len(t, a.GetGranted(), 1)
	require.Equal(t, "sample.robots.update projects/p/robots/r", a.GetGranted()[0].GetPermission()+" "+a.GetGranted()[0].GetResource())
	require.Subset(t, a.GetPaths(), []string{"spec.color", "spec.pin"})
	require.Equal(t, map[string]any{"color": "red"}, a.GetBefore().AsMap()["spec"])
	require.Equal(t, map[string]any{"color": "blue"}, a.GetAfter().AsMap()["spec"])
	require.NotContains(t, a.GetAfter().AsMap(), "displayName", "what did not change is not in it")
	require.Equal(t, "spec.color,spec.pin", a.GetRequest().AsMap()["updateMask"])
	require.Equal(t, "selvedge.sample.v1.Robot", a.GetOmittedResponse().GetType(), "which the change has")
	require.EqualValues(t, 1, a.GetChanges())
	require.Nil(t, a.GetStatus())

	records := w.ledger.Records()
	c := records[len(records)-2].Change
	require.NotNil(t, c, "the change is before the call")
	require.Equal(t, []string{a.GetId(), "req-1", "projects/p", a.GetMethod()}, []string{c.GetActivityId(), c.GetRequestId(), c.GetPrincipal(), c.GetMethod()})
	require.Equal(t, resourcev1.ResourceChangeLog_UPDATED, c.GetVerb())
	require.Equal(t, a.GetTransaction().GetLast(), c.GetTransaction().GetLast())
	require.NotEqual(t, c.GetVersion(), c.GetPreviousVersion())
	for _, r := range records {
		require.NotContains(t, string(r.JSON), planted)
		require.Equal(t, "p", r.Project)
		require.True(t, json.Valid(r.JSON))
	}
}

func TestRecorder_Categories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	const name = "projects/p/robots/r"
	update := func(paths string, r *samplev1.Robot) *samplev1.UpdateRobotRequest {
		r.Name = name
		return &samplev1.UpdateRobotRequest{Robot: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: strings.Split(paths, ",")}}
	}
	f := func(want resourcev1.ActivityLog_Category, by, method string, req proto.Message) *resourcev1.ActivityLog {
		t.Helper()
		n := len(w.activities(0))
		_, err := w.try(as(by), method, req)
		all := w.activities(n)
		require.Len(t, all, 1, "%s: %v", method, err)
		require.Equal(t, want, all[0].GetCategory(), method)
		require.Equal(t, err == nil, all[0].GetStatus() == nil)
		return all[0]
	}
	f(resourcev1.ActivityLog_CREATION, "projects/p", "RobotService.CreateRobot", &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: &samplev1.Robot{}})
	f(resourcev1.ActivityLog_SPEC_UPDATE, "projects/p", "RobotService.UpdateRobot", update("spec.color,state.battery", &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "red"}, State: &samplev1.RobotState{Battery: 1}}))
	f(resourcev1.ActivityLog_STATE_UPDATE, "projects/p", "RobotService.UpdateRobot", update("state.battery", &samplev1.Robot{State: &samplev1.RobotState{Battery: 2}}))
	f(resourcev1.ActivityLog_META_UPDATE, "projects/p", "RobotService.UpdateRobot", update("metadata.labels", &samplev1.Robot{Metadata: &resourcev1.Metadata{Labels: map[string]string{"a": "b"}}}))
	f(resourcev1.ActivityLog_OPERATION, "projects/p", "RobotService.UpdateRobot", update("spec.color", &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "red"}}))
	f(resourcev1.ActivityLog_OPERATION, "projects/p", "Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: name, Color: "green"})
	f(resourcev1.ActivityLog_READ, "projects/p", "RobotService.ListRobots", &samplev1.ListRobotsRequest{Parent: "projects/p"})
	f(resourcev1.ActivityLog_READ, "projects/p", "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: name, ValidateOnly: true})
	f(resourcev1.ActivityLog_CLIENT_ERROR, "projects/p", "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: name, Etag: "zz"})
	f(resourcev1.ActivityLog_CLIENT_ERROR, "projects/p", "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/none"})
	denied := f(resourcev1.ActivityLog_REJECTED, "projects/q", "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: name})
	require.Equal(t, "sample.robots.delete", denied.GetDenied()[0].GetPermission())
	require.Equal(t, name, denied.GetResource())
	require.EqualValues(t, 7, denied.GetStatus().GetCode())
	require.Empty(t, denied.GetGranted())
	f(resourcev1.ActivityLog_REJECTED, "", "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: name})
	f(resourcev1.ActivityLog_DELETION, "projects/p", "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: name})
	require.NoError(t, audittest.Check(t.Context(), w.store, w.ledger.Changes()))
}

func TestRecorder_CallOfManyTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := len(w.activities(0))
	w.do("Fleet.MoveOrders", &samplev1.MoveOrdersRequest{Parent: "projects/p"})
	all := w.activities(n)
	require.Len(t, all, 1, "one record of the call, whatever it does")
	require.Equal(t, resourcev1.ActivityLog_OPERATION, all[0].GetCategory())
	require.Len(t, all[0].GetResponse().AsMap()["orders"], 2)
	changes := 0
	for _, r := range w.ledger.Records() {
		if r.Change.GetResourceType() == "sample.selvedge.dev/Order" {
			changes++
			require.Equal(t, all[0].GetId(), r.Change.GetActivityId())
			require.Equal(t, []string{"admin", all[0].GetRequestId()}, []string{r.Change.GetPrincipal(), r.Change.GetRequestId()})
		}
	}
	require.Equal(t, 2, changes)
}

func TestRecorder_PlatformsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := policy.With(t.Context(), &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"})
	ctx = store.WithInfo(store.WithService(ctx, "devices.selvedge.dev"), store.Info{RequestID: "job"})
	require.NoError(t, w.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		return w.store.Save(ctx, &samplev1.Order{Name: "projects/p/orders/o", Metadata: &resourcev1.Metadata{
			Services: &resourcev1.Services{OwningService: "devices.selvedge.dev"},
		}}, store.SaveOptions{})
	}))
	a := w.last()
	require.Equal(t, resourcev1.ActivityLog_INTERNAL, a.GetCategory())
	require.Equal(t, []string{"services/devices.selvedge.dev", "job", "projects/p/orders/o"}, []string{a.GetPrincipal(), a.GetRequestId(), a.GetResource()})
	records := w.ledger.Records()
	c := records[len(records)-2].Change
	require.Equal(t, []string{"services/devices.selvedge.dev", a.GetId()}, []string{c.GetPrincipal(), c.GetActivityId()})
}

// TestRecorder_RepeatedRequest: notes change nothing about requests that happen
// once, and each time that it was asked has a record.
func TestRecorder_RepeatedRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	n := len(w.activities(0))
	req := &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "new"}, RequestId: "once"}
	first := w.do("RobotService.UpdateRobot", proto.Clone(req)).(*samplev1.Robot)
	got := w.do("RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"}).(*samplev1.Robot)
	require.Equal(t, got.GetMetadata().GetResourceVersion(), first.GetMetadata().GetResourceVersion())
	again := w.do("RobotService.UpdateRobot", proto.Clone(req))
	require.True(t, proto.Equal(first, again), "%v %v", first, again)
	var wrote []*resourcev1.ActivityLog
	for _, a := range w.activities(n) {
		if a.GetCategory() != resourcev1.ActivityLog_READ {
			wrote = append(wrote, a)
		}
	}
	require.Len(t, wrote, 2)
	require.Equal(t, []string{"once", "once"}, []string{wrote[0].GetRequestId(), wrote[1].GetRequestId()})
	require.NotEqual(t, wrote[0].GetId(), wrote[1].GetId())
	require.Equal(t, []int32{1, 0}, []int32{wrote[0].GetChanges(), wrote[1].GetChanges()})
}

// TestRecorder_WatchesGoOn: who watches sees the changes, and nothing of notes.
func TestRecorder_WatchesGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hub := watch.NewHub(w.store, watch.HubOptions{})
	ctx, cancel := context.WithCancel(w.ctx)
	running := make(chan error)
	go func() { running <- hub.Run(ctx) }()
	o := w.options
	o.Hub = hub
	s, err := service.New(w.Schema(), w.store, o)
	require.NoError(t, err)
	m, ok := w.store.Types().Method("selvedge.sample.v1.RobotService.WatchRobots")
	require.True(t, ok)
	seen := make(chan string, 100)
	watched := make(chan error)
	go func() {
		watched <- s.Stream(ctx, m, &samplev1.WatchRobotsRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/p"}, func(out proto.Message) error {
			resp := out.(*samplev1.WatchRobotsResponse)
			for _, c := range resp.GetRobotChanges() {
				seen <- c.GetSet().GetRobot().GetName()
			}
			if resp.GetIsCurrent() && len(resp.GetRobotChanges()) == 0 {
				seen <- "current"
			}
			return nil
		})
	}()
	for seen := range seen {
		if seen == "current" {
			break
		}
	}
	for i := range 3 {
		_, err := w.try(as("projects/q"), "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"}) // notes alone
		require.Error(t, err)
		w.robot(fmt.Sprint("r", i), &samplev1.Robot{})
	}
	for i := range 3 {
		name := <-seen
		for name == "current" {
			name = <-seen
		}
		require.Equal(t, fmt.Sprint("projects/p/robots/r", i), name)
	}
	cancel()
	require.Error(t, <-watched)
	require.NoError(t, <-running)
	a := w.last()
	require.Equal(t, "selvedge.sample.v1.RobotService.WatchRobots", a.GetMethod())
	require.Equal(t, resourcev1.ActivityLog_READ, a.GetCategory(), "who has seen enough is no error")
}

// TestRecorder_SignsOfLife: an update of what changes all the time by itself is no
// change to the audit, and its call is recorded as reads are.
func TestRecorder_SignsOfLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{State: &samplev1.RobotState{Phase: samplev1.RobotState_IDLE}})
	seen := func(at int64, phase samplev1.RobotState_Phase) {
		w.do("RobotService.UpdateRobot", &samplev1.UpdateRobotRequest{
			Robot:      &samplev1.Robot{Name: "projects/p/robots/r", State: &samplev1.RobotState{SeenTime: &timestamppb.Timestamp{Seconds: at}, Phase: phase}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
	}
	n, changes := len(w.activities(0)), len(w.ledger.Changes())
	w.reads = 0
	for i := range int64(20) {
		seen(i+1, samplev1.RobotState_IDLE)
	}
	require.Empty(t, w.activities(n))
	require.Len(t, w.ledger.Changes(), changes)
	w.reads = 1
	seen(30, samplev1.RobotState_IDLE)
	all := w.activities(n)
	require.Len(t, all, 1)
	require.Equal(t, resourcev1.ActivityLog_STATE_UPDATE, all[0].GetCategory())
	require.Len(t, w.ledger.Changes(), changes)

	w.reads = 0
	seen(31, samplev1.RobotState_BUSY)
	require.Len(t, w.activities(n), 2, "with something else it is a change")
	c := w.ledger.Changes()
	require.Len(t, c, changes+1)
	require.NotContains(t, string(c[changes]), "seenTime")
	require.Contains(t, string(c[changes]), `"phase":"BUSY"`)
	require.NoError(t, audittest.Check(t.Context(), w.store, c))
}

func TestRecorder_PassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	m, ok := w.store.Types().Method("selvedge.sample.v1.RobotService.DeleteRobot")
	require.True(t, ok)
	ctx, c := w.recorder.Begin(as("projects/p"), w.store, m, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"})
	c.PassedOn("us")
	c.PassedOn("us")
	c.End(ctx, nil)
	a := w.last()
	require.Equal(t, []string{"us"}, a.GetDestRegions())
	require.Equal(t, resourcev1.ActivityLog_OPERATION, a.GetCategory(), "here it changed nothing")
	require.Equal(t, "projects/p/robots/r", a.GetResource())

	// Nobody to record to is no case of its own.
	var none *audit.Recorder
	ctx, c = none.Begin(t.Context(), w.store, m, nil)
	c.PassedOn("us")
	c.Asked(ctx, "p", "", true)
	c.About("x")
	c.Trying("id")
	c.Answer(nil)
	c.End(ctx, nil)
	require.Nil(t, c)
}

func TestRecorder_ReadsAreSampled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	n := len(w.activities(0))
	get := func() {
		w.do("RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	}
	w.reads = 0
	for range 100 {
		get()
	}
	require.Empty(t, w.activities(n))
	w.reads = 0.5
	for range 200 {
		get()
	}
	some := w.activities(n)
	require.NotEmpty(t, some)
	require.Less(t, len(some), 200)
	require.InDelta(t, 0.5, some[0].GetSampleRate(), 0)
	// A denial is recorded whatever the rate is.
	w.reads = 0
	_, err := w.try(as("projects/q"), "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	require.Equal(t, fault.Denied, fault.KindOf(err))
	require.Equal(t, resourcev1.ActivityLog_REJECTED, w.last().GetCategory())
}

func TestRecorder_DenialIsDurableBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	d, err := sqlite.OpenDriver(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	w := newWorld(t, d)
	for i := range 10 {
		_, err := w.try(as("projects/q"), "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: fmt.Sprint("projects/p/robots/r", i)})
		require.Equal(t, fault.Denied, fault.KindOf(err))
	}
	require.NoError(t, d.Close()) // and nothing of the recorder's was written since

	d, err = sqlite.OpenDriver(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	changes, err := d.Changes(t.Context(), 0, 100)
	require.NoError(t, err)
	records, err := w.relayOf(d).Records(t.Context(), changes)
	require.NoError(t, err)
	denied := 0
	for _, r := range records {
		if r.Activity.GetCategory() == resourcev1.ActivityLog_REJECTED {
			require.Equal(t, "projects/q", r.Activity.GetPrincipal())
			denied++
		}
	}
	require.Equal(t, 10, denied)
}

// relayOf is a relay of another driver.
func (w *world) relayOf(d store.Driver) *audit.Relay {
	st := store.New(d, w.store.Types(), store.Options{})
	return audit.NewRelay(st, w.ledger.Take, audit.RelayOptions{})
}

func TestRecorder_ScannersAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 1000 {
		_, err := w.try(as(""), "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
		require.Error(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.recorder.Run(ctx, w.store) }()
	one, more := 0, 0
	require.Eventually(t, func() bool {
		w.at, one, more = 0, 0, 0
		changes, err := w.store.Driver().Changes(t.Context(), 0, 100_000)
		require.NoError(t, err)
		records, err := w.relay.Records(t.Context(), changes)
		require.NoError(t, err)
		for _, r := range records {
			if r.Activity.GetCategory() != resourcev1.ActivityLog_REJECTED {
				continue
			}
			if n := 0; r.Activity.GetMethod() == "" {
				_, err := fmt.Sscanf(r.Activity.GetStatus().GetMessage(), "%d more", &n)
				require.NoError(t, err)
				more += n
			} else {
				one++
			}
		}
		return one+more == 1000
	}, patience, 10*time.Millisecond)
	require.Less(t, one, 1000)
	cancel()
	require.NoError(t, <-done)
}

func TestRecorder_WaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	n := len(w.activities(0))
	w.driver.fails.Store(true)
	_, err := w.try(as("projects/q"), "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	require.Equal(t, fault.Denied, fault.KindOf(err), "the answer is what it is")
	_, err = w.try(w.ctx, "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"})
	require.ErrorIs(t, err, errAway)
	w.driver.fails.Store(false)
	all := w.activities(n)
	require.Len(t, all, 2)
	require.Equal(t, resourcev1.ActivityLog_REJECTED, all[0].GetCategory())
	require.Equal(t, resourcev1.ActivityLog_SERVER_ERROR, all[1].GetCategory())
	require.NotContains(t, all[1].GetStatus().GetMessage(), "away", "the cause is for operators")
	require.Zero(t, w.recorder.Dropped())
}

func TestRecorder_LargePayloadsAreLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	settings, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 300<<10)})
	require.NoError(t, err)
	w.robot("r", &samplev1.Robot{Spec: &samplev1.RobotSpec{Settings: settings}})
	a := w.last()
	require.Nil(t, a.GetRequest())
	require.Equal(t, "selvedge.sample.v1.CreateRobotRequest", a.GetOmittedRequest().GetType())
	require.Greater(t, a.GetOmittedRequest().GetSize(), int64(300<<10))
	records := w.ledger.Records()
	c := records[len(records)-2]
	require.Greater(t, c.Change.GetOmitted().GetSize(), int64(300<<10))
	require.Less(t, len(c.JSON), 4<<10)
	require.NotEmpty(t, c.Change.GetPaths())
}

// operations does random calls, of which some fail, and returns how many of
// those that write succeeded.
func operations(t *rapid.T, w *world, steps int) (written int) {
	ids := []string{"a", "b", "c", "d"}
	robot := func() *samplev1.Robot {
		out := &samplev1.Robot{DisplayName: rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "name")}
		if rapid.Bool().Draw(t, "spec") {
			out.Spec = &samplev1.RobotSpec{
				Color: rapid.SampledFrom([]string{"", "red", "blue"}).Draw(t, "color"), Power: rapid.SampledFrom([]float64{0, 0.1, 1e300}).Draw(t, "power"),
				Pin: planted + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "pin"),
			}
			for range rapid.IntRange(0, 2).Draw(t, "parts") {
				out.Spec.Parts = append(out.Spec.Parts, &samplev1.Part{Serial: rapid.SampledFrom(ids).Draw(t, "serial")})
			}
			for range rapid.IntRange(0, 2).Draw(t, "spares") {
				if out.Spec.Spares == nil {
					out.Spec.Spares = map[string]*samplev1.Part{}
				}
				out.Spec.Spares[rapid.SampledFrom([]string{"x", "a.b", "c`d", "ü,"}).Draw(t, "key")] = &samplev1.Part{Note: "n", Count: int32(rapid.IntRange(0, 2).Draw(t, "count"))}
			}
			if rapid.Bool().Draw(t, "led") {
				out.Spec.Leader = "projects/p/robots/" + rapid.SampledFrom(ids).Draw(t, "leader")
			}
			if rapid.Bool().Draw(t, "hosted") {
				out.Spec.Host = "projects/p/robots/" + rapid.SampledFrom(ids).Draw(t, "host")
			}
		}
		if rapid.Bool().Draw(t, "state") {
			out.State = &samplev1.RobotState{Phase: samplev1.RobotState_Phase(rapid.IntRange(0, 3).Draw(t, "phase")), Token: planted, SeenTime: &timestamppb.Timestamp{Seconds: int64(rapid.IntRange(0, 3).Draw(t, "seen"))}}
		}
		if rapid.Bool().Draw(t, "labels") {
			out.Metadata = &resourcev1.Metadata{Labels: map[string]string{rapid.SampledFrom(ids).Draw(t, "label"): "v"}}
		}
		return out
	}
	for range steps {
		id := rapid.SampledFrom(ids).Draw(t, "id")
		name := "projects/p/robots/" + id
		var err error
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			_, err = w.try(w.ctx, "RobotService.CreateRobot", &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: id, Robot: robot()})
		case 1, 2:
			r := robot()
			r.Name = name
			req := &samplev1.UpdateRobotRequest{Robot: r, AllowMissing: rapid.Bool().Draw(t, "missing")}
			if rapid.Bool().Draw(t, "all") {
				req.UpdateMask = &fieldmaskpb.FieldMask{Paths: []string{"*"}}
			}
			_, err = w.try(w.ctx, "RobotService.UpdateRobot", req)
		case 3:
			_, err = w.try(w.ctx, "RobotService.DeleteRobot", &samplev1.DeleteRobotRequest{Name: name})
		default:
			_, err = w.try(w.ctx, "Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: name, Color: rapid.SampledFrom([]string{"red", "green"}).Draw(t, "paint")})
		}
		if err == nil {
			written++
		}
	}
	return written
}

// replays does random calls on what there is, and checks that their records are
// what they did.
func (w *world) replays(t *rapid.T, steps int) {
	w.begin() // rapid may have ended the last run in the middle
	known := len(w.ledger.Records())
	written := operations(t, w, steps)
	w.hand()
	records := w.ledger.Records()[known:]
	well := 0
	byID := map[string]*resourcev1.ActivityLog{}
	for _, r := range records {
		a := r.Activity
		if a == nil {
			continue
		}
		require.NotContains(t, byID, a.GetId())
		byID[a.GetId()] = a
		if a.GetStatus() == nil {
			well++
		}
	}
	require.Equal(t, written, well, "one record for each call")
	w.begin()
	require.NoError(t, w.resources.Compare(context.Background(), w.store))
	of := map[string]int32{}
	for _, r := range records {
		require.NotContains(t, string(r.JSON), planted)
		if a, ok := byID[r.Change.GetActivityId()]; ok {
			require.Equal(t, []string{a.GetRequestId(), a.GetPrincipal(), a.GetMethod()}, []string{r.Change.GetRequestId(), r.Change.GetPrincipal(), r.Change.GetMethod()})
			of[a.GetId()]++
		}
	}
	for id, a := range byID {
		require.Equal(t, a.GetChanges(), of[id], "as many changes as the call says")
	}
}

// TestRecorder_ReplayIsWhatThereIs: who has the records of changes has the
// resources.
func TestRecorder_ReplayIsWhatThereIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	rapid.Check(t, func(t *rapid.T) { w.replays(t, 20) })
}

// TestRecorder_ReplayOnPostgreSQL is the same on the other driver.
func TestRecorder_ReplayOnPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	d, err := postgres.Open(t.Context(), dsn, postgres.Options{Schema: pgtest.Schema(t, dsn)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	w := newWorld(t, d)
	rapid.Check(t, func(t *rapid.T) { w.replays(t, 8) })
}
