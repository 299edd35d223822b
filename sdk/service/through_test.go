package service_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// SPEC 1.F 33: a change without a policy is an error, not a default.
func TestThrough_NoPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	bare := newService(t, w, service.Options{Authorize: service.Allow})
	for name, req := range map[string]proto.Message{
		createRobot: &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: &samplev1.Robot{}},
		updateRobot: &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "b"}},
	} {
		_, err := bare.Call(w.ctx, w.method(name), req)
		require.Equal(t, "NO_POLICY", fault.ReasonOf(err), name)
	}
}

// The policy of the holder says where a resource is, or may not be (SPEC B13).
func TestThrough_Policy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	call[*samplev1.Project](w, "ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: "far", Project: &samplev1.Project{
		MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"mars"}, DefaultControlRegion: "mars"},
	}})
	f := func(parent, region string) {
		t.Helper()
		r := call[*samplev1.Robot](w, createRobot, &samplev1.CreateRobotRequest{Parent: parent, Robot: &samplev1.Robot{}})
		require.Equal(t, region, r.GetMetadata().GetSyncing().GetOwningRegion())
	}
	f("projects/p", "eu")
	f("projects/p/regions/us", "us")
	f("projects/far", "mars")
	w.fails(fault.Invalid, "REGION_NOT_ENABLED", "name", createRobot, &samplev1.CreateRobotRequest{Parent: "projects/far/regions/us", Robot: &samplev1.Robot{}})
}

// SPEC 1.F 15: another service creates only what it says is its own; a user
// creates what he likes.
func TestThrough_OwningService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	other := store.WithService(w.ctx, "other.selvedge.dev")
	req := func(owner string) *samplev1.CreateRobotRequest {
		r := &samplev1.Robot{}
		if owner != "" {
			r.Metadata = &resourcev1.Metadata{Services: &resourcev1.Services{OwningService: owner}}
		}
		return &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: r}
	}
	for _, owner := range []string{"", "sample.selvedge.dev"} {
		w.failsAs(other, fault.Denied, "NOT_OWNING_SERVICE", "metadata.services.owning_service", createRobot, req(owner))
	}
	out, err := w.try(other, createRobot, req("other.selvedge.dev"))
	require.NoError(t, err)
	require.Equal(t, []string{"other.selvedge.dev"}, out.(*samplev1.Robot).GetMetadata().GetServices().GetAllowedServices())
	call[*samplev1.Robot](w, createRobot, req(""))
}

// SPEC 1.F 38: a STATELESS watch has neither order nor pages.
func TestThrough_StatelessWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hub := watch.NewHub(w.store, watch.HubOptions{})
	s := newService(t, w, service.Options{Authorize: service.Allow, Hub: hub})
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	for _, req := range []*samplev1.WatchRobotsRequest{
		{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS, OrderBy: "name"},
		{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS, PageSize: 1},
		{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS, PageToken: "x"},
		{Parent: "projects/p"},
	} {
		err := s.Stream(ctx, w.method("RobotService.WatchRobots"), req, func(proto.Message) error { return nil })
		require.Equal(t, fault.Invalid, fault.KindOf(err), req)
	}
	// A watch that may be, shows what is there and no secrets.
	w.robot("r", secretive())
	var first *samplev1.WatchRobotsResponse
	err := s.Stream(ctx, w.method("RobotService.WatchRobots"), &samplev1.WatchRobotsRequest{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS}, func(m proto.Message) error {
		first = m.(*samplev1.WatchRobotsResponse)
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	robot := first.GetRobotChanges()[0].GetSet().GetRobot()
	require.Equal(t, []string{"projects/p/robots/r", "", ""}, []string{robot.GetName(), robot.GetSpec().GetPin(), robot.GetState().GetToken()})
	cancel()
	require.NoError(t, <-done)
}

// SPEC 1.F 35: a resource and its counter are committed together, so that there
// are never too many, however many are created at once.
func TestThrough_Limit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.limit = 3
	create := func() error {
		_, err := w.try(w.ctx, createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: &samplev1.Robot{}})
		return err
	}
	results := make(chan error, 8)
	for range cap(results) {
		go func() { results <- create() }()
	}
	made := 0
	for range cap(results) {
		if err := <-results; err == nil {
			made++
		} else {
			require.Equal(t, "LIMIT_REACHED", fault.ReasonOf(err))
		}
	}
	require.Equal(t, 3, made)
	page := call[*samplev1.ListRobotsResponse](w, listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p"})
	require.Len(t, page.GetRobots(), 3)
	call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: page.GetRobots()[0].GetName()})
	require.NoError(t, create())
	require.Error(t, create())
}

// A deletion says what it does to others, before and after, and a blocked one
// does nothing (SPEC B14).
func TestThrough_DeletionPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	model := "projects/p/models/m"
	call[*samplev1.Model](w, "ModelService.CreateModel", &samplev1.CreateModelRequest{Parent: "projects/p", ModelId: "m", Model: &samplev1.Model{}})
	w.robot("lead", &samplev1.Robot{Spec: &samplev1.RobotSpec{Model: model}})
	w.robot("follows", &samplev1.Robot{Spec: &samplev1.RobotSpec{Leader: "projects/p/robots/lead"}})
	w.robot("part", &samplev1.Robot{Spec: &samplev1.RobotSpec{Host: "projects/p/robots/lead"}})
	w.robot("none", &samplev1.Robot{})

	blocked := call[*resourcev1.DeletionPlan](w, "ModelService.DeleteModel", &samplev1.DeleteModelRequest{Name: model, ValidateOnly: true})
	require.True(t, blocked.GetBlocked())
	w.fails(fault.Precondition, "REFERRED_TO", "", "ModelService.DeleteModel", &samplev1.DeleteModelRequest{Name: model})

	plan := call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/lead", ValidateOnly: true})
	require.Len(t, plan.GetConsequences(), 3)
	done := call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/lead"})
	require.True(t, proto.Equal(plan, done))
	require.Empty(t, w.get("follows").GetSpec().GetLeader())
	w.fails(fault.NotFound, "NOT_FOUND", "", getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/part"})
	call[*resourcev1.DeletionPlan](w, "ModelService.DeleteModel", &samplev1.DeleteModelRequest{Name: model})
}

// SPEC 1.F 34: what is made together is whole together, what refers to each
// other and what is below the other.
func TestThrough_OneTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := newService(t, w, service.Options{Authorize: service.Allow})
	one := policy.With(w.ctx, &resourcev1.MultiRegionPolicy{DefaultControlRegion: "eu"})
	require.NoError(t, w.store.Run(one, store.Transaction, func(ctx context.Context) error {
		for _, step := range []struct {
			name string
			req  proto.Message
		}{
			{"ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: "both", Project: &samplev1.Project{}}},
			{createRobot, &samplev1.CreateRobotRequest{Parent: "projects/both", RobotId: "b", Robot: &samplev1.Robot{Spec: &samplev1.RobotSpec{Leader: "projects/both/robots/a"}}}},
			{createRobot, &samplev1.CreateRobotRequest{Parent: "projects/both", RobotId: "a", Robot: &samplev1.Robot{}}},
		} {
			if _, err := s.Call(ctx, w.method(step.name), step.req); err != nil {
				return err
			}
		}
		return nil
	}))
	call[*samplev1.Robot](w, getRobot, &samplev1.GetRobotRequest{Name: "projects/both/robots/b"})
}

// What has others below it stays until they are gone (google.aip.dev/135), also
// when one is made at the same time.
func TestThrough_Children(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	remove := &samplev1.DeleteProjectRequest{Name: "projects/p"}
	for _, parent := range []string{"projects/p", "projects/p/regions/eu"} {
		r := call[*samplev1.Robot](w, createRobot, &samplev1.CreateRobotRequest{Parent: parent, Robot: &samplev1.Robot{}})
		e := w.fails(fault.Precondition, "HAS_CHILDREN", "", "ProjectService.DeleteProject", remove)
		require.Contains(t, e.Message(), r.GetName())
		plan := call[*resourcev1.DeletionPlan](w, "ProjectService.DeleteProject", &samplev1.DeleteProjectRequest{Name: "projects/p", ValidateOnly: true})
		require.True(t, plan.GetBlocked())
		last := plan.GetConsequences()[len(plan.GetConsequences())-1]
		require.Equal(t, []string{r.GetName(), "projects/p", "BLOCKS"}, []string{last.GetName(), last.GetCause(), last.GetEffect().String()})
		call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: r.GetName()})
	}
	for i := range 10 {
		project := fmt.Sprintf("race%d", i)
		call[*samplev1.Project](w, "ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: project, Project: &samplev1.Project{}})
		made := make(chan error, 1)
		go func() {
			_, err := w.try(w.ctx, createRobot, &samplev1.CreateRobotRequest{Parent: "projects/" + project, Robot: &samplev1.Robot{}})
			made <- err
		}()
		_, gone := w.try(w.ctx, "ProjectService.DeleteProject", &samplev1.DeleteProjectRequest{Name: "projects/" + project})
		require.NotEqual(t, gone == nil, <-made == nil, "either the project or its robot is there")
	}
}
