package service_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
)

// send calls a method by an event and decodes the reply.
func (w *world) send(ctx context.Context, name string, req proto.Message, id string) (proto.Message, error) {
	w.t.Helper()
	m := w.method(name)
	e, err := service.Event(m, req, id)
	require.NoError(w.t, err)
	require.NoError(w.t, e.Validate())
	reply, err := w.Handler().Handle(ctx, e)
	if err != nil {
		return nil, err
	}
	require.NoError(w.t, reply.Validate())
	return service.Reply(m, reply)
}

func TestHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	create := &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "r", Robot: &samplev1.Robot{DisplayName: "a"}}
	made, err := w.send(w.ctx, createRobot, create, "1")
	require.NoError(t, err)
	require.True(t, proto.Equal(w.get("r"), made))
	// The same event again is answered as the first; another event is another request.
	again, err := w.send(w.ctx, createRobot, create, "1")
	require.NoError(t, err)
	require.True(t, proto.Equal(made, again))
	paint := &samplev1.PaintRobotRequest{Name: "projects/p/robots/r", Color: "blue"}
	first, err := w.send(w.ctx, "Fleet.PaintRobot", paint, "2")
	require.NoError(t, err)
	w.robotIs("red")
	second, err := w.send(w.ctx, "Fleet.PaintRobot", paint, "2")
	require.NoError(t, err)
	require.True(t, proto.Equal(first, second))
	require.Equal(t, "red", w.get("r").GetSpec().GetColor())

	refused := func(ctx context.Context, kind fault.Kind, reason, name string, req proto.Message) {
		t.Helper()
		_, err := w.send(ctx, name, req, "3")
		require.Equal(t, kind, fault.KindOf(err))
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	refused(w.ctx, fault.Exists, "ALREADY_EXISTS", createRobot, create)
	refused(w.ctx, fault.NotFound, "NOT_FOUND", getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/none"})
	refused(w.ctx, fault.Invalid, "INVALID_NAME", getRobot, &samplev1.GetRobotRequest{Name: "x"})
	refused(w.ctx, fault.Conflict, "CAS_MISMATCH", updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r"}, Cas: &samplev1.UpdateRobotRequest_Cas{}})
	refused(as("projects/q"), fault.Denied, "PERMISSION_DENIED", createRobot, create)
	refused(as(""), fault.Unauthenticated, "UNAUTHENTICATED", createRobot, create)
}

// robotIs paints the robot r.
func (w *world) robotIs(color string) {
	w.t.Helper()
	call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Color: color}}})
}

// What can succeed the next time is an error, so that a broker tries again.
func TestHandler_ErrorsToRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	w.driver.err = &fault.Error{Kind: fault.Unavailable}
	_, err := w.Handler().Handle(w.ctx, w.event(updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "b"}}))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

// event is the event of a call.
func (w *world) event(name string, req proto.Message) event.Event {
	w.t.Helper()
	e, err := service.Event(w.method(name), req, "1")
	require.NoError(w.t, err)
	return e
}

func TestHandler_Forms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{DisplayName: "a"})
	e := w.event(getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	require.Equal(t, []string{"selvedge.sample.v1.RobotService.GetRobot", "projects/p/robots/r", "application/protobuf"}, []string{e.Type(), e.Subject(), e.DataContentType()})
	require.Equal(t, "projects/p/robots/r", w.event(updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r"}}).Context.GetSubject())
	require.Equal(t, "projects/p", w.event(createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p"}).Context.GetSubject())
	require.Equal(t, "own", w.event(createRobot, &samplev1.CreateRobotRequest{RequestId: "own"}).Context.GetID())

	e.SetDataContentType("application/json; charset=utf-8")
	e.DataEncoded = []byte(`{"name": "projects/p/robots/r", "view": "NAME"}`)
	reply, err := w.Handler().Handle(w.ctx, e)
	require.NoError(t, err)
	require.Equal(t, []string{"selvedge.sample.v1.Robot", "application/json", "1/reply"}, []string{reply.Type(), reply.DataContentType(), reply.ID()})
	require.JSONEq(t, `{"name": "projects/p/robots/r"}`, string(reply.Data()))

	f := func(change func(*event.Event), reason string) {
		t.Helper()
		e := w.event(getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
		change(&e)
		reply, err := w.Handler().Handle(w.ctx, e)
		require.NoError(t, err)
		require.Equal(t, "google.rpc.Status", reply.Type())
		_, err = service.Reply(w.method(getRobot), reply)
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	f(func(e *event.Event) { e.SetType("nonsense") }, "NO_SUCH_METHOD")
	f(func(e *event.Event) { e.SetType("selvedge.sample.v1.RobotService.WatchRobot") }, "NO_SUCH_METHOD")
	f(func(e *event.Event) { e.SetSubject("projects/q/robots/r") }, "SUBJECT_MISMATCH")
	f(func(e *event.Event) { e.SetDataContentType("text/plain") }, "UNSUPPORTED_MEDIA_TYPE")
	f(func(e *event.Event) { e.DataEncoded = []byte{0xff} }, "INVALID_DATA")
	f(func(e *event.Event) { e.SetDataContentType("application/json"); e.DataEncoded = []byte(`{"nmae": 1}`) }, "INVALID_DATA")

	for _, bad := range []*event.Event{nil, {Context: event.New().Context}} {
		_, err := service.Reply(w.method(getRobot), bad)
		require.Equal(t, fault.Internal, fault.KindOf(err))
	}
}

// FuzzHandler holds that no request in JSON is answered by anything but the
// response or by what is wrong with it.
func FuzzHandler(f *testing.F) {
	w := newWorld(f, nil)
	w.robot("r", secretive())
	var methods []*schema.Method
	for _, name := range []string{getRobot, batchGetRobot, listRobots, searchRobots, createRobot, updateRobot, deleteRobot, "Fleet.PaintRobot"} {
		methods = append(methods, w.method(name))
	}
	for i, seed := range []string{
		`{"name":"projects/p/robots/r","readMask":"spec.color"}`, `{"names":["projects/p/robots/r"]}`, `{"parent":"projects/-","filter":"spec.power > 1","orderBy":"name desc"}`,
		`{"parent":"projects/p","phrase":"x"}`, `{"parent":"projects/p","robotId":"x","robot":{"spec":{"spares":{"a":{"count":1}}}}}`,
		`{"robot":{"name":"projects/p/robots/r","metadata":{"resourceVersion":"1"}},"updateMask":"spec","cas":{"conditionalState":{},"fieldMask":"displayName"}}`,
		`{"name":"projects/p/robots/r","etag":"1","validateOnly":true}`, `{"name":"projects/p/robots/r"}`,
	} {
		f.Add(uint8(i), seed)
	}
	f.Fuzz(func(t *testing.T, which uint8, data string) {
		m := methods[int(which)%len(methods)]
		e := event.New()
		e.SetID(uuid.NewString())
		e.SetSource("//fuzz")
		e.SetType(string(m.Name))
		e.SetDataContentType("application/json")
		e.DataEncoded = []byte(data)
		reply, err := w.Handler().Handle(w.ctx, e)
		require.NoError(t, err, data)
		out, err := service.Reply(m, reply)
		if err != nil {
			require.NotEqual(t, fault.Internal, fault.KindOf(err), data)
			return
		}
		if strings.HasPrefix(string(m.Name), "selvedge.sample.v1.RobotService.List") {
			text, err := protojson.Marshal(out)
			require.NoError(t, err)
			require.NotContains(t, string(text), "1234")
		}
	})
}
