package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/watch"
)

// The methods of robots that read.
const (
	getRobot      = "RobotService.GetRobot"
	batchGetRobot = "RobotService.BatchGetRobots"
	listRobots    = "RobotService.ListRobots"
	searchRobots  = "RobotService.SearchRobots"
)

// secretive is a robot with something in every part.
func secretive() *samplev1.Robot {
	return &samplev1.Robot{
		DisplayName: "one", Metadata: &resourcev1.Metadata{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "1"}},
		Spec: &samplev1.RobotSpec{Color: "red", Pin: "1234"}, State: &samplev1.RobotState{Battery: 1, Token: "t"},
	}
}

// google.aip.dev/157; secrets are shown by Get and BatchGet alone (SPEC A9).
func TestRead_Views(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", secretive())
	name := "projects/p/robots/r"
	shown := func(r *samplev1.Robot) string {
		var s []string
		for part, is := range map[string]bool{
			"d": r.GetDisplayName() != "", "l": len(r.GetMetadata().GetLabels()) > 0, "a": len(r.GetMetadata().GetAnnotations()) > 0,
			"c": r.GetSpec().GetColor() != "", "p": r.GetSpec().GetPin() != "", "b": r.GetState().GetBattery() != 0, "t": r.GetState().GetToken() != "",
			"n": r.GetName() == name,
		} {
			if is {
				s = append(s, part)
			}
		}
		order := "ndlacbpt"
		out := ""
		for _, c := range order {
			if strings.Contains(strings.Join(s, ""), string(c)) {
				out += string(c)
			}
		}
		return out
	}
	f := func(view resourcev1.View, paths []string, one, list string) {
		t.Helper()
		m := mask(paths...)
		require.Equal(t, one, shown(call[*samplev1.Robot](w, getRobot, &samplev1.GetRobotRequest{Name: name, View: view, ReadMask: m})))
		batch := call[*samplev1.BatchGetRobotsResponse](w, batchGetRobot, &samplev1.BatchGetRobotsRequest{Names: []string{name}, View: view, ReadMask: m})
		require.Equal(t, one, shown(batch.GetRobots()[0]))
		page := call[*samplev1.ListRobotsResponse](w, listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p", View: view, ReadMask: m})
		require.Equal(t, list, shown(page.GetRobots()[0]))
		found := call[*samplev1.SearchRobotsResponse](w, searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: "one", View: view, ReadMask: m})
		require.Equal(t, list, shown(found.GetRobots()[0]))
	}
	f(resourcev1.View_VIEW_UNSPECIFIED, nil, "ndlacbpt", "ndlcb")
	f(resourcev1.View_NAME, nil, "n", "n")
	f(resourcev1.View_BASIC, nil, "ndlcb", "ndlcb")
	f(resourcev1.View_DETAIL, nil, "ndlacb", "ndlacb")
	f(resourcev1.View_FULL, nil, "ndlacbpt", "ndlacb")
	// A mask goes before the view, but is no way to secrets.
	f(resourcev1.View_VIEW_UNSPECIFIED, []string{"name", "spec"}, "ncp", "nc")
	f(resourcev1.View_NAME, []string{"spec.color", "spec.pin"}, "c", "c")
	f(resourcev1.View_BASIC, []string{"metadata"}, "la", "la")
	f(resourcev1.View_FULL, []string{"*"}, "ndlacbpt", "ndlacb")
	f(resourcev1.View_VIEW_UNSPECIFIED, []string{"metadata.labels.l", "metadata.labels.none"}, "l", "l")

	w.fails(fault.Invalid, "INVALID_FIELD", "view", getRobot, &samplev1.GetRobotRequest{Name: name, View: 99})
	w.fails(fault.Invalid, "INVALID_MASK", "read_mask", getRobot, &samplev1.GetRobotRequest{Name: name, ReadMask: mask("nonsense")})
	w.fails(fault.Invalid, "INVALID_MASK", "read_mask", listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p", ReadMask: mask("spec.nonsense")})
}

func TestRead_SharesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", secretive())
	want := proto.Clone(w.get("r"))
	for _, m := range [][]string{nil, {"*"}, {"spec", "metadata"}} {
		got := call[*samplev1.Robot](w, getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/r", ReadMask: mask(m...)})
		got.Spec.Color, got.Metadata.Labels["l"] = "changed", "changed"
		require.True(t, proto.Equal(want, w.get("r")))
	}
}

// google.aip.dev/231.
func TestBatchGet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("a", &samplev1.Robot{})
	w.robot("b", &samplev1.Robot{})
	a, b, none := "projects/p/robots/a", "projects/p/robots/b", "projects/p/robots/none"
	req := func(parent string, allow bool, names ...string) *samplev1.BatchGetRobotsRequest {
		return &samplev1.BatchGetRobotsRequest{Parent: parent, Names: names, AllowMissing: allow}
	}
	f := func(req *samplev1.BatchGetRobotsRequest, robots, missing string) {
		t.Helper()
		out := call[*samplev1.BatchGetRobotsResponse](w, batchGetRobot, req)
		var got []string
		for _, r := range out.GetRobots() {
			got = append(got, resource.Name(r.GetName()).ID())
		}
		require.Equal(t, []string{robots, missing}, []string{strings.Join(got, " "), strings.Join(out.GetMissing(), " ")})
	}
	f(req("", false, b, a), "b a", "")
	f(req("projects/p", false, a, a), "a a", "")
	f(req("projects/-", true, a, none, b), "a b", none)
	e := w.fails(fault.NotFound, "NOT_FOUND", "names[1]", batchGetRobot, req("", false, a, none))
	require.Equal(t, none, e.Name)
	w.fails(fault.Invalid, "INVALID_FIELD", "names", batchGetRobot, req(""+"", false))
	w.fails(fault.Invalid, "INVALID_FIELD", "names", batchGetRobot, req("", false, make([]string, 1001)...))
	w.fails(fault.Invalid, "INVALID_NAME", "names[1]", batchGetRobot, req("", false, a, "x"))
	w.fails(fault.Invalid, "INVALID_FIELD", "names[0]", batchGetRobot, req("projects/q", false, a))
}

// google.aip.dev/132, 158 and 160.
func TestList_Pages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 7 {
		w.robot(fmt.Sprintf("r%d", i), &samplev1.Robot{Spec: &samplev1.RobotSpec{Power: float64(i % 2)}})
	}
	list := func(size int32, token, filter, order string) (string, *samplev1.ListRobotsResponse) {
		out := call[*samplev1.ListRobotsResponse](w, listRobots, &samplev1.ListRobotsRequest{
			Parent: "projects/p", PageSize: size, PageToken: token, Filter: filter, OrderBy: order, IncludePagingInfo: true,
		})
		ids := ""
		for _, r := range out.GetRobots() {
			ids += r.GetName()[len("projects/p/robots/r"):]
		}
		return ids, out
	}
	f := func(filter, order string, pages ...string) {
		t.Helper()
		token, back := "", []string{}
		for i, want := range pages {
			got, out := list(int32(len(want)), token, filter, order) // pages may change their size
			require.Equal(t, want, got)
			require.Equal(t, int64(len(strings.Join(pages, ""))), out.GetPagingInfo().GetTotal())
			require.Equal(t, int64(len(strings.Join(pages[:i], ""))), out.GetPagingInfo().GetOffset())
			require.Equal(t, i == 0, out.GetPrevPageToken() == "")
			require.Equal(t, i == len(pages)-1, out.GetNextPageToken() == "")
			token, back = out.GetNextPageToken(), append(back, out.GetPrevPageToken())
		}
		for i := len(pages) - 1; i > 0; i-- {
			got, out := list(int32(len(pages[i-1])), back[i], filter, order)
			require.Equal(t, pages[i-1], got)
			require.NotEmpty(t, out.GetNextPageToken())
		}
	}
	f("", "", "0123456")
	f("", "", "012", "345", "6")
	f("", "", "01", "2345", "6")
	f("", "name desc", "654", "321", "0")
	f("", "spec.power, name desc", "64", "20", "531")
	f("", "spec.power desc", "135", "02", "46")
	f("spec.power = 1", "", "13", "5")

	got, out := list(0, "", "spec.power = 2", "")
	require.Equal(t, []string{"", "", ""}, []string{got, out.GetNextPageToken(), out.GetPrevPageToken()})
}

func TestList_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 3 {
		w.robot(fmt.Sprintf("r%d", i), &samplev1.Robot{})
	}
	f := func(req *samplev1.ListRobotsRequest, reason, field string) {
		t.Helper()
		if req.Parent == "" {
			req.Parent = "projects/p"
		}
		w.fails(fault.Invalid, reason, field, listRobots, req)
	}
	f(&samplev1.ListRobotsRequest{PageSize: -1}, "INVALID_FIELD", "page_size")
	f(&samplev1.ListRobotsRequest{Filter: "nonsense = 1"}, "INVALID_FILTER", "filter")
	f(&samplev1.ListRobotsRequest{Filter: `spec.pin = "1"`}, "INVALID_FILTER", "filter")                      // a secret
	f(&samplev1.ListRobotsRequest{Filter: `metadata.owner_references.name: "x"`}, "INVALID_FILTER", "filter") // SPEC 1.F 26
	f(&samplev1.ListRobotsRequest{OrderBy: "spec.pin"}, "INVALID_ORDER_BY", "order_by")
	f(&samplev1.ListRobotsRequest{OrderBy: "nonsense"}, "INVALID_ORDER_BY", "order_by")
	f(&samplev1.ListRobotsRequest{Parent: "projects"}, "INVALID_PARENT", "parent")
	f(&samplev1.ListRobotsRequest{PageToken: "nonsense"}, "INVALID_PAGE_TOKEN", "page_token")
	f(&samplev1.ListRobotsRequest{PageToken: strings.Repeat("a", 20_000)}, "INVALID_PAGE_TOKEN", "page_token")

	page := call[*samplev1.ListRobotsResponse](w, listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p", PageSize: 1})
	token := page.GetNextPageToken()
	f(&samplev1.ListRobotsRequest{PageToken: token, Filter: "spec.power = 0"}, "INVALID_PAGE_TOKEN", "page_token")
	f(&samplev1.ListRobotsRequest{PageToken: token, OrderBy: "name desc"}, "INVALID_PAGE_TOKEN", "page_token")
	f(&samplev1.ListRobotsRequest{PageToken: token, Parent: "projects/q"}, "INVALID_PAGE_TOKEN", "page_token")
	f(&samplev1.ListRobotsRequest{PageToken: token[:len(token)-1]}, "INVALID_PAGE_TOKEN", "page_token")
	w.fails(fault.Invalid, "INVALID_PAGE_TOKEN", "page_token", searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: "x", PageToken: token})
	w.fails(fault.Invalid, "INVALID_FIELD", "phrase", searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p"})
	w.fails(fault.Invalid, "INVALID_FIELD", "phrase", searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: strings.Repeat("x ", 1000)})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("a", &samplev1.Robot{DisplayName: "Red welding arm"})
	w.robot("b", &samplev1.Robot{DisplayName: "Blue welding arm"})
	f := func(phrase string, want int) {
		t.Helper()
		require.Len(t, call[*samplev1.SearchRobotsResponse](w, searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: phrase}).GetRobots(), want)
	}
	f("weld", 2)
	f("red WELDING", 1)
	f("green", 0)
}

// Whoever lacks a permission is told so and nothing else, before anything is
// read (google.aip.dev/211).
func TestAuthorize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	for name, req := range map[string]proto.Message{
		getRobot:              &samplev1.GetRobotRequest{Name: "projects/p/robots/r"},
		getRobot + " none":    &samplev1.GetRobotRequest{Name: "projects/p/robots/none"},
		batchGetRobot:         &samplev1.BatchGetRobotsRequest{Names: []string{"projects/p/robots/r"}},
		listRobots:            &samplev1.ListRobotsRequest{Parent: "projects/p", Filter: "nonsense"},
		listRobots + " all":   &samplev1.ListRobotsRequest{Parent: "projects/-"},
		searchRobots:          &samplev1.SearchRobotsRequest{Parent: "projects/p/regions/-", Phrase: "x"},
		createRobot:           &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "r", Robot: &samplev1.Robot{}},
		createRobot + " none": &samplev1.CreateRobotRequest{Parent: "projects/none", Robot: &samplev1.Robot{}},
		updateRobot:           &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r"}, AllowMissing: true},
		deleteRobot:           &samplev1.DeleteRobotRequest{Name: "projects/p/robots/none"},
		"Fleet.PaintRobot":    &samplev1.PaintRobotRequest{Name: "projects/p/robots/r"},
		"Fleet.MoveOrders":    &samplev1.MoveOrdersRequest{Parent: "projects/p"},
	} {
		name, _, _ := strings.Cut(name, " ")
		permission := w.method(name).Permission
		e := w.failsAs(as("projects/q"), fault.Denied, "PERMISSION_DENIED", permission, name, req)
		require.Contains(t, e.Message(), "lacks the permission "+permission)
		w.failsAs(as(""), fault.Unauthenticated, "UNAUTHENTICATED", permission, name, req)
	}
	nobody := newService(t, w, service.Options{})
	_, err := nobody.Call(w.ctx, w.method(getRobot), &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	require.Equal(t, fault.Denied, fault.KindOf(err), "without a policy nobody may do anything")
}

// Who may see a part of what is listed is shown that part alone.
func TestList_Visible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *service.Options) {
		o.Visible = func(ctx context.Context, permission string, name resource.Name) bool {
			return permission == "sample.robots.list" && service.Allow(ctx, permission, name) == nil
		}
	})
	for _, parent := range []string{"projects/p", "projects/q", "projects/p/regions/eu"} {
		call[*samplev1.Robot](w, createRobot, &samplev1.CreateRobotRequest{Parent: parent, RobotId: "r", Robot: &samplev1.Robot{}})
	}
	f := func(ctx context.Context, parent, want string) {
		t.Helper()
		out, err := w.try(ctx, listRobots, &samplev1.ListRobotsRequest{Parent: parent, IncludePagingInfo: true})
		require.NoError(t, err)
		page := out.(*samplev1.ListRobotsResponse)
		var got []string
		for _, r := range page.GetRobots() {
			got = append(got, string(resource.Name(r.GetName()).Parent()))
		}
		require.Equal(t, want, strings.Join(got, " "))
		require.Equal(t, int64(len(got)), page.GetPagingInfo().GetTotal())
	}
	f(w.ctx, "projects/-", "projects/p projects/q")
	f(as("projects/q"), "projects/-", "projects/q")
	f(as("projects/p"), "projects/-/regions/-", "projects/p/regions/eu")
	f(as("projects/q"), "projects/-/regions/eu", "")
	w.failsAs(as("projects/q"), fault.Denied, "PERMISSION_DENIED", "sample.robots.list", listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p"})
	w.failsAs(as(""), fault.Unauthenticated, "UNAUTHENTICATED", "sample.robots.list", listRobots, &samplev1.ListRobotsRequest{Parent: "projects/-"})
}

// hub records what it is to serve.
type hub struct {
	method  *schema.Method
	visible watch.Visible
}

// Serve implements service.Hub.
func (h *hub) Serve(_ context.Context, m *schema.Method, _ proto.Message, visible watch.Visible, send func(proto.Message) error) error {
	h.method, h.visible = m, visible
	return send(m.Output.New().Interface())
}

func TestWatch(t *testing.T) {
	t.Parallel()
	h := &hub{}
	w := newWorld(t, func(o *service.Options) {
		o.Hub = h
		o.Visible = func(ctx context.Context, permission string, name resource.Name) bool {
			return service.Allow(ctx, permission, name) == nil
		}
	})
	watch := func(ctx context.Context, name string, req proto.Message) error {
		h.method = nil
		return w.Stream(ctx, w.method(name), req, func(proto.Message) error { return nil })
	}
	const one, many = "RobotService.WatchRobot", "RobotService.WatchRobots"
	require.NoError(t, watch(as("projects/p"), one, &samplev1.WatchRobotRequest{Name: "projects/p/robots/r"}))
	require.Equal(t, one, strings.TrimPrefix(string(h.method.Name), "selvedge.sample.v1."))
	require.Nil(t, h.visible)
	require.NoError(t, watch(as("projects/p"), many, &samplev1.WatchRobotsRequest{Parent: "projects/p"}))
	require.Nil(t, h.visible)
	require.NoError(t, watch(as("projects/p"), many, &samplev1.WatchRobotsRequest{Parent: "projects/-"}))
	require.True(t, h.visible(as("projects/p"), w.robots(), &samplev1.Robot{Name: "projects/p/robots/r"}))
	require.False(t, h.visible(as("projects/p"), w.robots(), &samplev1.Robot{Name: "projects/q/robots/r"}))
	for name, req := range map[string]proto.Message{
		one: &samplev1.WatchRobotRequest{Name: "projects/p/robots/r"}, many: &samplev1.WatchRobotsRequest{Parent: "projects/p"},
	} {
		require.Equal(t, fault.Denied, fault.KindOf(watch(as("projects/q"), name, req)))
		require.Nil(t, h.method)
	}
	require.Equal(t, fault.Invalid, fault.KindOf(watch(w.ctx, many, &samplev1.WatchRobotsRequest{Parent: "x"})))
	require.Equal(t, fault.Unavailable, fault.KindOf(newWorld(t, nil).Stream(w.ctx, w.method(one), &samplev1.WatchRobotRequest{}, nil)))
}
