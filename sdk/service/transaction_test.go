package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// records is how many requests are remembered.
func (w *world) records() int {
	w.t.Helper()
	r, ok := w.store.Types().Type("records.selvedge.dev/Request")
	require.True(w.t, ok)
	n := 0
	require.NoError(w.t, w.store.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
		page, err := w.store.List(ctx, r, store.Query{Limit: 1000, Count: true})
		if err == nil {
			n = int(page.Total)
		}
		return err
	}))
	return n
}

// google.aip.dev/155: the second request of an id changes nothing and is
// answered as the first, also after what it made changed.
func TestRequestID(t *testing.T) {
	t.Parallel()
	var w *world
	w = newWorld(t, func(o *service.Options) {
		o.Hooks = []service.Hook{service.On(service.Hooks[*samplev1.Robot]{
			// Another write with the robot's.
			Saved: func(ctx context.Context, _, m *samplev1.Robot) error {
				return w.store.Save(ctx, &samplev1.Model{Name: "projects/p/models/m", Price: int64(len(m.GetDisplayName()))}, store.SaveOptions{})
			},
		})}
	})
	create := &samplev1.CreateRobotRequest{Parent: "projects/p", RequestId: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", Robot: &samplev1.Robot{DisplayName: "a", Spec: &samplev1.RobotSpec{Pin: "1"}}}
	made := call[*samplev1.Robot](w, createRobot, proto.Clone(create))
	again := func(name string, req proto.Message, want proto.Message) {
		t.Helper()
		got := call[proto.Message](w, name, proto.Clone(req))
		require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
	}
	again(createRobot, create, made)
	update := &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: made.GetName(), DisplayName: "bb"}, RequestId: "2"}
	changed := call[*samplev1.Robot](w, updateRobot, proto.Clone(update))
	require.NotEqual(t, made.GetMetadata().GetResourceVersion(), changed.GetMetadata().GetResourceVersion())
	again(updateRobot, update, changed)
	again(createRobot, create, made)
	same := &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: made.GetName(), DisplayName: "bb"}, RequestId: "3"}
	again(updateRobot, same, changed) // a change of nothing
	again(updateRobot, same, changed)
	remove := &samplev1.DeleteRobotRequest{Name: made.GetName(), RequestId: "4"}
	plan := call[*resourcev1.DeletionPlan](w, deleteRobot, proto.Clone(remove))
	again(deleteRobot, remove, plan)
	again(createRobot, create, made)
	require.Equal(t, 4, w.records())

	// Another request, method or principal.
	create.Robot.DisplayName = "b"
	w.fails(fault.Invalid, "REQUEST_ID_REUSED", "request_id", createRobot, create)
	update.RequestId = create.GetRequestId()
	w.fails(fault.NotFound, "NOT_FOUND", "", updateRobot, update)
	other, err := w.try(as("projects/p"), createRobot, proto.Clone(create))
	require.NoError(t, err)
	require.NotEqual(t, made.GetName(), other.(*samplev1.Robot).GetName())

	for _, id := range []string{"a b", "ä", "\x00", strings.Repeat("a", 129)} {
		create.RequestId = id
		w.fails(fault.Invalid, "INVALID_REQUEST_ID", "request_id", createRobot, create)
	}
}

// What failed may be tried again by the same id.
func TestRequestID_FailureIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	req := &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "a"}, RequestId: "1"}
	w.fails(fault.NotFound, "NOT_FOUND", "", updateRobot, req)
	w.robot("r", &samplev1.Robot{})
	call[*samplev1.Robot](w, updateRobot, req)
}

func TestRequestID_IsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	req := func(i int) *samplev1.CreateRobotRequest {
		return &samplev1.CreateRobotRequest{Parent: "projects/p", RequestId: fmt.Sprint(i), Robot: &samplev1.Robot{}}
	}
	first := call[*samplev1.Robot](w, createRobot, req(0))
	for i := range 200 {
		call[*samplev1.Robot](w, createRobot, req(i))
	}
	require.Equal(t, 200, w.records())
	w.now = w.now.Add(24 * time.Hour)
	require.Equal(t, first.GetName(), call[*samplev1.Robot](w, createRobot, req(0)).GetName())
	w.now = w.now.Add(time.Second)
	require.NotEqual(t, first.GetName(), call[*samplev1.Robot](w, createRobot, req(0)).GetName())
	for i := range 200 {
		call[*samplev1.Robot](w, createRobot, req(1000+i))
	}
	require.Equal(t, 201, w.records(), "what is expired is gone, the rest is there")
}

// Two calls of one id at once happen once.
func TestRequestID_AtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	names := make(chan string, 8)
	for range cap(names) {
		go func() {
			out, err := w.try(w.ctx, createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", RequestId: "1", Robot: &samplev1.Robot{}})
			if err != nil {
				names <- err.Error()
				return
			}
			names <- out.(*samplev1.Robot).GetName()
		}()
	}
	first := <-names
	require.Contains(t, first, "projects/p/robots/")
	for range cap(names) - 1 {
		require.Equal(t, first, <-names)
	}
}

func TestCustom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{Spec: &samplev1.RobotSpec{Pin: "1"}})
	painted := call[*samplev1.Robot](w, "Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: "projects/p/robots/r", Color: "blue"})
	require.Equal(t, "blue", painted.GetSpec().GetColor())
	require.Empty(t, painted.GetSpec().GetPin())
	require.Equal(t, "1", w.get("r").GetSpec().GetPin())
	require.Equal(t, painted.GetMetadata().GetResourceVersion(), w.get("r").GetMetadata().GetResourceVersion())
	w.fails(fault.NotFound, "NOT_FOUND", "", "Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: "projects/p/robots/none"})
	w.fails(fault.Invalid, "INVALID_NAME", "name", "Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: "projects/p"})
	// SPEC 1.F 32: a MANUAL method has no handle, which it fails for otherwise.
	call[*samplev1.MoveOrdersResponse](w, "Fleet.MoveOrders", &samplev1.MoveOrdersRequest{Parent: "projects/p"})
	w.fails(fault.Invalid, "INVALID_PARENT", "parent", "Fleet.MoveOrders", &samplev1.MoveOrdersRequest{Parent: "x"})
}

func TestCustom_Public(t *testing.T) {
	t.Parallel()
	calls := 0
	w := newWorld(t, func(o *service.Options) {
		o.Methods[0] = service.Handle("Fleet.PaintRobot", func(context.Context, *samplev1.PaintRobotRequest) (*samplev1.Robot, error) {
			calls++
			return secretive(), nil
		}).Public()
	})
	paint := &samplev1.PaintRobotRequest{Name: "projects/p/robots/r"}
	for range 2 { // the answer is not kept: who asks again may be somebody else
		out, err := w.send(as(""), "Fleet.PaintRobot", paint, "1")
		require.NoError(t, err)
		require.Empty(t, out.(*samplev1.Robot).GetSpec().GetPin())
	}
	require.Equal(t, []int{2, 0}, []int{calls, w.records()})
	w.failsAs(as(""), fault.Unauthenticated, "UNAUTHENTICATED", "sample.orders.move", "Fleet.MoveOrders", &samplev1.MoveOrdersRequest{Parent: "projects/p"})
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	paint, move := fleet(w)[0], fleet(w)[1]
	f := func(o service.Options, text string) {
		t.Helper()
		_, err := service.New(w.Schema(), w.store, o)
		require.ErrorContains(t, err, text)
	}
	f(service.Options{}, "nothing answers selvedge.sample.v1.Fleet.PaintRobot")
	f(service.Options{Methods: []service.Custom{paint}}, "nothing answers selvedge.sample.v1.Fleet.MoveOrders")
	f(service.Options{Methods: []service.Custom{paint, move, move}}, "two functions answer selvedge.sample.v1.Fleet.MoveOrders")
	wrong := service.Handle("Fleet.PaintRobot", func(context.Context, *samplev1.MoveOrdersRequest) (*samplev1.Robot, error) { return nil, nil })
	f(service.Options{Methods: []service.Custom{wrong, move}}, "another signature")
	none := service.Handle("Fleet.None", func(context.Context, *samplev1.MoveOrdersRequest) (*samplev1.Robot, error) { return nil, nil })
	f(service.Options{Methods: []service.Custom{paint, move, none}}, "no custom method Fleet.None")
	stream := service.HandleStream("Fleet.PaintRobot", func(context.Context, *samplev1.PaintRobotRequest, func(*samplev1.Robot) error) error { return nil })
	f(service.Options{Methods: []service.Custom{stream, move}}, "another signature")
	standard := service.Handle(getRobot, func(context.Context, *samplev1.GetRobotRequest) (*samplev1.Robot, error) { return nil, nil })
	f(service.Options{Methods: []service.Custom{paint, move, standard}}, "no custom method")
	f(service.Options{Methods: fleet(w), Hooks: []service.Hook{service.On(service.Hooks[*resourcev1.Metadata]{})}}, "no type selvedge.resource.v1.Metadata")
}

func TestSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	set, err := service.NewSet(w.Service)
	require.NoError(t, err)
	require.Equal(t, []*service.Service{w.Service}, set.Services())
	for _, name := range []string{"selvedge.sample.v1.RobotService.GetRobot", "/selvedge.sample.v1.RobotService/GetRobot"} {
		s, m, ok := set.Find(name)
		require.True(t, ok)
		require.Same(t, w.Service, s)
		require.Equal(t, w.method(getRobot), m)
	}
	for _, name := range []string{"", "/", "x", "selvedge.sample.v1.RobotService", "/selvedge.sample.v1.RobotService.GetRobot/"} {
		_, _, ok := set.Find(name)
		require.False(t, ok, name)
	}
	_, err = service.NewSet(w.Service, w.Service)
	require.ErrorContains(t, err, "two services answer")
}
