package reason_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	emailerv1 "selvedge.dev/functions/emailer/v1"
	"selvedge.dev/functions/reason"
	"selvedge.dev/functions/reason/calibrate"
	reasonv1 "selvedge.dev/functions/reason/v1"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/delivery"
)

// What a function replies is what goes on, and nothing else of it is the
// function's to say. SPEC C7
func TestHandle_Path(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	var answer *event.Event
	var seen event.Event
	w.user("default", &reasonv1.Script{Params: map[string]string{"a": "b"}}, func(e event.Event) (*event.Event, error) {
		seen = e
		return answer, nil
	})
	f := func(name, want string, posted int, reply *event.Event) {
		t.Helper()
		answer, w.posted = reply, nil
		in := message(t, "reason")
		in.SetExtension("color", "red")
		out, err := w.function.Handle(w.ctx, in)
		require.NoError(t, err, name)
		require.Len(t, w.posted, posted, name)
		if want == "" {
			require.Nil(t, out, name)
			return
		}
		require.JSONEq(t, want, string(out.Data()), name)
		require.NoError(t, in.SetData("application/json", json.RawMessage(want)))
		in.SetExtension(event.Route, "writer")
		require.Equal(t, in.String(), out.String(), name)
	}
	f("nothing", `{"temperature":20}`, 0, nil)
	require.Equal(t, "projects/p/scripts/default", event.Extension(&seen, "reasonscript"))
	require.JSONEq(t, `{"a":"b"}`, event.Extension(&seen, "reasonparams"))
	changed := reply(t, "com.example.climate", map[string]any{"temperature": 21})
	for _, name := range []string{event.Route, event.Device, event.Project, "color"} {
		changed.SetExtension(name, "evil")
	}
	f("other data", `{"temperature":21}`, 0, changed)
	f("another event", `{"temperature":20}`, 1, reply(t, "com.example.other", 1))
	e := w.posted[0]
	require.Equal(t, []string{"com.example.other", "//selvedge.dev/projects/p/scripts/default", "p", "projects/p/devices/d", "", "1"}, []string{
		e.Type(), e.Source(), event.Extension(&e, event.Project), event.Extension(&e, event.Device), event.Extension(&e, event.Route), string(e.Data()),
	})
	id := e.ID()
	f("again", `{"temperature":20}`, 1, reply(t, "com.example.other", 1))
	require.Equal(t, id, w.posted[0].ID(), "it counts once")
	f("both", `{"temperature":22}`, 2, reply(t, reasonv1.TypeReply, reasonv1.Reply{
		Data: map[string]any{"temperature": 22}, Events: []reasonv1.Event{{Type: "a", Extensions: map[string]string{"color": "blue"}}, {Type: "b", Data: 1}},
	}))
	require.Equal(t, "blue", event.Extension(&w.posted[0], "color"))
	f("the end", "", 1, reply(t, reasonv1.TypeReply, reasonv1.Reply{Drop: true, Events: []reasonv1.Event{{Type: "a"}}}))
	f("null is data", `null`, 0, reply(t, reasonv1.TypeReply, json.RawMessage(`{"data":null}`)))
}

// A message goes from script to script, and through none twice.
func TestHandle_Chain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	step := func(id, then string) {
		w.user(id, &reasonv1.Script{Then: then}, func(e event.Event) (*event.Event, error) {
			return reply(t, e.Type(), string(e.Data())+id), nil
		})
	}
	step("a", "reason.b")
	step("b", "reason.a")
	e := message(t, "reason.a")
	var drops function.Drops
	ctx := function.WithDrops(w.ctx, &drops)
	routes := []string{}
	for strings.HasPrefix(event.Extension(&e, event.Route), "reason") {
		out, err := w.function.Handle(ctx, e)
		require.NoError(t, err)
		e = *out
		routes = append(routes, event.Extension(&e, event.Route))
	}
	require.Equal(t, []string{"reason.b", "reason.a", "writer"}, routes)
	require.Empty(t, event.Extension(&e, "selvedgepassed"))
	require.Equal(t, []function.Loss{{Reason: "SCRIPT_LOOP", Count: 1}}, drops.Losses())

	// A message without its script is a message all the same.
	out, err := w.function.Handle(ctx, message(t, "reason.none"))
	require.NoError(t, err)
	require.Equal(t, "writer", event.Extension(out, event.Route))
	require.Contains(t, drops.Losses(), function.Loss{Reason: "UNKNOWN_SCRIPT", Count: 1})
}

// A script runs apart from any message, and not for ever.
func TestHandle_Run(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.user("loop", &reasonv1.Script{}, func(event.Event) (*event.Event, error) {
		return reply(t, reasonv1.TypeReply, reasonv1.Reply{Events: []reasonv1.Event{{Type: reasonv1.TypeRun, Subject: "loop"}}}), nil
	})
	e := message(t, "")
	e.SetExtension(event.Route, nil)
	e.SetType(reasonv1.TypeRun)
	e.SetSubject("loop")
	runs := 0
	for ; ; runs++ {
		w.posted = nil
		out, err := w.function.Handle(w.ctx, e)
		require.NoError(t, err)
		require.Nil(t, out)
		if len(w.posted) == 0 {
			break
		}
		e = w.posted[0]
	}
	require.Equal(t, 4, runs)
	e.SetSubject("none")
	_, err := w.function.Handle(w.ctx, e)
	require.Equal(t, "UNKNOWN_SCRIPT", fault.ReasonOf(err))
	e.SetExtension(event.Route, event.RouteProcessor) // a device's
	_, err = w.function.Handle(w.ctx, e)
	require.Equal(t, "FROM_OUTSIDE", fault.ReasonOf(err))
}

// What a failure of the function does to the message, in the process and over
// HTTP.
func TestHandle_Fails(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == http.StatusTemporaryRedirect {
			http.Redirect(w, r, "/elsewhere", status)
			return
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, server.URL+"/rules/, https://rules.example.com")
	uri := func(u string) *reasonv1.Script { return &reasonv1.Script{Sink: &reasonv1.Script_Uri{Uri: u}} }
	w.create("http", uri(server.URL+"/rules/x"))
	pass := uri(server.URL + "/rules/x")
	pass.OnFailure = reasonv1.Script_PASS
	w.create("pass", pass)
	w.create("root", uri(server.URL+"/"))
	w.create("other", uri("http://rules.example.com/x"))
	w.create("beside", uri("https://rules.example.com.evil.example/"))
	w.create("gone", &reasonv1.Script{Sink: &reasonv1.Script_Function{Function: "gone"}})
	w.user("slow", &reasonv1.Script{Timeout: durationpb.New(time.Nanosecond)}, func(event.Event) (*event.Event, error) { return nil, errors.New("later") })
	w.user("many", &reasonv1.Script{}, func(event.Event) (*event.Event, error) {
		return reply(t, reasonv1.TypeReply, reasonv1.Reply{Events: make([]reasonv1.Event, 21)}), nil
	})
	w.user("route", &reasonv1.Script{}, func(event.Event) (*event.Event, error) {
		return reply(t, reasonv1.TypeReply, reasonv1.Reply{Events: []reasonv1.Event{{Type: "x", Extensions: map[string]string{"selvedgeroute": "writer"}}}}), nil
	})
	f := func(route string, retried bool, reason string) {
		t.Helper()
		_, err := w.function.Handle(w.ctx, message(t, route))
		require.Error(t, err)
		require.Equal(t, retried, fault.Retried(fault.KindOf(err).EventStatus()), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	}
	status = http.StatusServiceUnavailable
	f("reason.http", true, "SCRIPT_AWAY")
	status = http.StatusBadRequest
	f("reason.http", false, "SCRIPT_REFUSED")
	var drops function.Drops
	out, err := w.function.Handle(function.WithDrops(w.ctx, &drops), message(t, "reason.pass"))
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature":20}`, string(out.Data()))
	require.Equal(t, []function.Loss{{Reason: "SCRIPT_FAILED", Count: 1}}, drops.Losses())
	status = http.StatusTemporaryRedirect
	f("reason.http", false, "SCRIPT_REFUSED")
	for _, id := range []string{"root", "other", "beside"} {
		f("reason."+id, false, "SINK_NOT_ALLOWED")
	}
	f("reason.gone", false, "UNKNOWN_FUNCTION")
	f("reason.slow", true, "SCRIPT_AWAY")
	f("reason.many", false, "MALFORMED_REPLY")
	f("reason.route", false, "MALFORMED_REPLY")
	f("reason./", false, "UNKNOWN_SCRIPT")
	f("other", false, "FROM_OUTSIDE")
	for _, env := range []map[string]string{{"REASON_ALLOW": "rules"}, {"REASON_FUNCTIONS": "{name}"}, {"REASON_ALLOW": "http://x/../y"}} {
		require.Error(t, new(reason.Function).Start(t.Context(), env))
	}
}

// A function that the project deployed by that name is asked; one of another
// project is none.
func TestHandle_Deployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.create("mine", &reasonv1.Script{Sink: &reasonv1.Script_Function{Function: "calibrate"}})
	w.create("none", &reasonv1.Script{Sink: &reasonv1.Script_Function{Function: "other"}})
	w.function.Deployed = func(project, name string) delivery.Sink {
		if project != "p" || name != "calibrate" {
			return nil
		}
		return delivery.InProcess(handler(func(event.Event) (*event.Event, error) {
			return reply(t, "com.example.climate", map[string]any{"temperature": 21}), nil
		}))
	}
	out, err := w.function.Handle(w.ctx, message(t, "reason.mine"))
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature":21}`, string(out.Data()))
	_, err = w.function.Handle(w.ctx, message(t, "reason.none"))
	require.Equal(t, "UNKNOWN_FUNCTION", fault.ReasonOf(err))
}

func TestScript_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	for field, s := range map[string]*reasonv1.Script{
		"uri":      {},
		"timeout":  {Sink: &reasonv1.Script_Function{Function: "x"}, Timeout: durationpb.New(time.Minute)},
		"then":     {Sink: &reasonv1.Script_Function{Function: "x"}, Then: "reason.s"},
		"function": {Sink: &reasonv1.Script_Function{Function: "x/y"}},
	} {
		_, err := do[*reasonv1.Script](w, "CreateScript", &reasonv1.CreateScriptRequest{Parent: "projects/p", ScriptId: "s", Script: s})
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", field, err)
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, field, f.Field)
	}
	for _, uri := range []string{"ftp://x", "http://user:secret@x", "http://x/../y", "http://x#y", "x"} {
		_, err := do[*reasonv1.Script](w, "CreateScript", &reasonv1.CreateScriptRequest{Parent: "projects/p", ScriptId: "s", Script: &reasonv1.Script{Sink: &reasonv1.Script_Uri{Uri: uri}}})
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", uri, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

// The example of docs/reason.md, as a server of its own: it corrects a reading,
// counts by its state, sends an e-mail and sets a timer. SPEC C7
func TestExample(t *testing.T) {
	t.Parallel()
	user := &calibrate.Function{}
	server := httptest.NewServer(function.HTTP(user, function.Options{}))
	t.Cleanup(server.Close)
	w := newWorld(t, server.URL)
	user.Platform = caller{w}
	w.create("calibrate", &reasonv1.Script{Sink: &reasonv1.Script_Uri{Uri: server.URL + "/"}, Params: map[string]string{"offset": "1.5", "mail": "ops@example.com"}})
	out, err := w.function.Handle(w.ctx, message(t, "reason.calibrate"))
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature":21.5,"readings":1}`, string(out.Data()))
	require.Empty(t, w.posted)
	hot := message(t, "reason.calibrate")
	require.NoError(t, hot.SetData("application/json", map[string]any{"temperature": 30}))
	out, err = w.function.Handle(w.ctx, hot)
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature":31.5,"readings":2}`, string(out.Data()))
	require.Len(t, w.posted, 2)
	require.Equal(t, []string{emailerv1.TypeEmail, schedulerv1.TypeSetTimer}, []string{w.posted[0].Type(), w.posted[1].Type()})
	other := message(t, "reason.calibrate")
	other.SetType("com.example.other")
	out, err = w.function.Handle(w.ctx, other)
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature":20}`, string(out.Data()))

	code, err := os.ReadFile("calibrate/calibrate.go")
	require.NoError(t, err)
	doc, err := os.ReadFile("../../docs/reason.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	require.NotEmpty(t, found)
	for _, b := range found {
		require.Contains(t, string(code), strings.TrimRight(b[1], "\n"))
	}
}
