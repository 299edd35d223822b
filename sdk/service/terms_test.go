package service_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
)

// ada is a user with roles of an engine.
const ada = "user:ada@example.com"

// asAda is a context of hers.
func asAda() context.Context {
	return iam.WithPrincipal(context.Background(), iam.Principal{Kind: iam.User, Name: "users/ada", Email: "ada@example.com"})
}

// newTerms is a world whose policy is that of an engine, where an administrator
// may do everything.
func newTerms(t testing.TB, change func(*service.Options)) (*world, *access.Engine) {
	t.Helper()
	e := access.New(access.Options{Implied: iam.Implied})
	may, err := iam.NewAuthorizer(e)
	require.NoError(t, err)
	w := newWorld(t, func(o *service.Options) {
		o.Authorize, o.Visible = may.Allow, may.Visible
		if change != nil {
			change(o)
		}
	})
	return w, e
}

// grant gives ada the grants in a scope.
func grant(t require.TestingT, e *access.Engine, scope, id string, params map[string]access.Param, grants ...access.Grant) {
	r := access.Role{Name: "projects/p/roles/" + id, Grants: grants, Params: slices.Collect(maps.Keys(params))}
	require.NoError(t, e.SetRole(r))
	require.NoError(t, e.SetBinding(access.Binding{Name: "roleBindings/" + id, Scope: scope, Role: r.Name, Members: []string{ada}, Params: params}))
}

// isRed is the condition that a robot is red.
var isRed = []access.FieldCondition{{Path: "spec.color", Values: []string{"red"}}}

// painted is a robot of a color.
func painted(id, color string) *samplev1.Robot {
	return &samplev1.Robot{Name: "projects/p/robots/" + id, DisplayName: id, Spec: &samplev1.RobotSpec{Color: color, Pin: "1234"}}
}

// Roles may depend on the fields of a resource as it is stored, and as it
// becomes: SPEC A3. Of what is not one's own nothing is told, not even whether it
// is there.
func TestTerms_EveryMethod(t *testing.T) {
	t.Parallel()
	w, e := newTerms(t, nil)
	grant(t, e, "projects/p", "red", nil, access.Grant{Permissions: []string{"sample.robots.*"}, Fields: isRed})
	w.robot("red", painted("red", "red"))
	w.robot("blue", painted("blue", "blue"))
	try := func(name string, req proto.Message) error {
		_, err := w.try(asAda(), name, req)
		return err
	}
	refused := func(name string, req proto.Message) {
		t.Helper()
		w.failsAs(asAda(), fault.Denied, "PERMISSION_DENIED", permissionOf(w, name), name, req)
	}
	at := func(id string) string { return "projects/p/robots/" + id }

	require.NoError(t, try(getRobot, &samplev1.GetRobotRequest{Name: at("red")}))
	for _, view := range []resourcev1.View{resourcev1.View_NAME, resourcev1.View_FULL} {
		var said []string
		for _, id := range []string{"blue", "none"} {
			err := try(getRobot, &samplev1.GetRobotRequest{Name: at(id), View: view})
			require.Equal(t, fault.Denied, fault.KindOf(err))
			said = append(said, strings.ReplaceAll(err.Error(), at(id), "X"))
		}
		require.Equal(t, said[0], said[1], "whether it is there")
	}

	require.NoError(t, try(batchGetRobot, &samplev1.BatchGetRobotsRequest{Names: []string{at("red")}}))
	for _, id := range []string{"blue", "none"} {
		refused(batchGetRobot, &samplev1.BatchGetRobotsRequest{Names: []string{at("red"), at(id)}, AllowMissing: true})
		refused(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted(id, "red"), UpdateMask: mask("spec.color")})
		refused(deleteRobot, &samplev1.DeleteRobotRequest{Name: at(id), AllowMissing: true})
		refused(deleteRobot, &samplev1.DeleteRobotRequest{Name: at(id), Etag: "1", ValidateOnly: true})
		refused("Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: at(id), Color: "red"})
	}

	require.NoError(t, try(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("red", "red"), UpdateMask: mask("display_name")}))
	refused(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("red", "blue"), UpdateMask: mask("spec.color")})
	refused(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("red", "blue"), UpdateMask: mask("spec.color"), ValidateOnly: true})
	require.NoError(t, try("Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: at("red"), Color: "red"}))
	refused("Fleet.PaintRobot", &samplev1.PaintRobotRequest{Name: at("red"), Color: "blue"})
	require.Equal(t, "red", w.get("red").GetSpec().GetColor())

	require.NoError(t, try(createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "new", Robot: painted("", "red")}))
	refused(createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "other", Robot: painted("", "blue")})
	refused(createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "blue", Robot: painted("", "blue")}) // and not that it is there
	refused(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("other", "blue"), AllowMissing: true})
	require.NoError(t, try(updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("more", "red"), AllowMissing: true}))
	require.NoError(t, try(deleteRobot, &samplev1.DeleteRobotRequest{Name: at("new")}))
	w.fails(fault.NotFound, "NOT_FOUND", "", getRobot, &samplev1.GetRobotRequest{Name: at("new")})

	names := func(name string, req proto.Message) (out []string) {
		t.Helper()
		m, err := w.try(asAda(), name, req)
		require.NoError(t, err)
		for _, r := range m.(interface{ GetRobots() []*samplev1.Robot }).GetRobots() {
			out = append(out, r.GetDisplayName())
		}
		return out
	}
	require.Equal(t, []string{"more", "red"}, names(listRobots, &samplev1.ListRobotsRequest{Parent: "projects/p"}))
	require.Equal(t, []string{"more", "red"}, names(listRobots, &samplev1.ListRobotsRequest{Parent: "projects/-"}))
	require.Empty(t, names(searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: "blue"}))
	require.Equal(t, []string{"red"}, names(searchRobots, &samplev1.SearchRobotsRequest{Parent: "projects/p", Phrase: "red"}))
	refused(listRobots, &samplev1.ListRobotsRequest{Parent: "projects/q"})

	// A method that is about no one resource has no fields.
	refused("Fleet.MoveOrders", &samplev1.MoveOrdersRequest{Parent: "projects/p"})
}

// permissionOf is the permission that a method asks for.
func permissionOf(w *world, name string) string { return w.method(name).Permission }

// What a condition may be about: fields of any kind but secrets, by values or by
// a parameter of the caller, and several at once.
func TestTerms_Conditions(t *testing.T) {
	t.Parallel()
	w, e := newTerms(t, nil)
	r := painted("r", "red")
	r.DisplayName, r.Spec.Armed, r.Spec.Power = "ada@example.com", true, 2.5
	r.Spec.Parts = []*samplev1.Part{{Serial: "a"}, {Serial: "b", Count: 7}}
	r.Metadata = &resourcev1.Metadata{Labels: map[string]string{"team": "x"}}
	w.robot("r", r)
	f := func(want bool, conditions ...access.FieldCondition) {
		t.Helper()
		grant(t, e, "", "one", map[string]access.Param{"who": {Attribute: "email"}, "team": {Value: "x"}}, access.Grant{Permissions: []string{"sample.robots.get"}, Fields: conditions})
		_, err := w.try(asAda(), getRobot, &samplev1.GetRobotRequest{Name: r.GetName()})
		require.Equal(t, want, err == nil, "%v: %v", conditions, err)
	}
	has := func(path string, values ...string) access.FieldCondition {
		return access.FieldCondition{Path: path, Values: values}
	}
	f(true, has("spec.color", "blue", "red"))
	f(false, has("spec.color", "RED"))
	f(true, has("spec.armed", "true"))
	f(true, has("spec.power", "2.5"))
	f(true, has("spec.parts.serial", "b"), has("spec.parts.count", "7"))
	f(false, has("spec.parts.serial", "b"), has("spec.parts.count", "8"))
	f(true, has("metadata.labels.team", "x"))
	f(false, has("state.phase", "PHASE_UNSPECIFIED")) // of no state
	f(true, access.FieldCondition{Path: "display_name", Param: "who"})
	f(true, access.FieldCondition{Path: "metadata.labels.team", Param: "team"})
	f(false, access.FieldCondition{Path: "spec.color", Param: "who"})
	f(false, has("spec.pin", "1234"))
	f(false, has("spec", "x"))
	f(false, has("no.such.field", ""))
}

// Who has nothing even on terms is refused without a look at the store.
func TestTerms_DenyFirst(t *testing.T) {
	t.Parallel()
	w, e := newTerms(t, nil)
	w.robot("r", painted("r", "red"))
	grant(t, e, "projects/q", "red", nil, access.Grant{Permissions: []string{"*"}, Fields: isRed})
	grant(t, e, "projects/p", "get", nil, access.Grant{Permissions: []string{"sample.models.*"}})
	before := w.driver.snapshots.Load()
	for name, req := range map[string]proto.Message{
		getRobot:           &samplev1.GetRobotRequest{Name: "projects/p/robots/r"},
		listRobots:         &samplev1.ListRobotsRequest{Parent: "projects/p"},
		updateRobot:        &samplev1.UpdateRobotRequest{Robot: painted("r", "red")},
		deleteRobot:        &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"},
		createRobot:        &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: painted("x", "red")},
		"Fleet.PaintRobot": &samplev1.PaintRobotRequest{Name: "projects/p/robots/r"},
	} {
		w.failsAs(asAda(), fault.Denied, "PERMISSION_DENIED", permissionOf(w, name), name, req)
		_, err := w.try(context.Background(), name, req)
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	}
	require.Equal(t, before, w.driver.snapshots.Load())
	w.get("r")
}

// fleetOf is random robots with random roles of ada's, and the brute force of
// what she may do.
type fleetOf struct {
	robots map[string]*samplev1.Robot
	grants []bound
}

// bound is a grant in a scope.
type bound struct {
	scope string
	access.Grant
}

// verbs are what grants are for.
var verbs = []string{"get", "list", "create", "update", "delete", "watch"}

// drawFleet draws one, and tells the engine.
func drawFleet(r *rapid.T, e *access.Engine) *fleetOf {
	f := &fleetOf{robots: map[string]*samplev1.Robot{}}
	condition := rapid.Custom(func(r *rapid.T) access.FieldCondition {
		if rapid.Bool().Draw(r, "by color") {
			return access.FieldCondition{Path: "spec.color", Values: rapid.SliceOfN(rapid.SampledFrom([]string{"", "red", "blue"}), 1, 2).Draw(r, "colors")}
		}
		return access.FieldCondition{Path: "spec.armed", Values: []string{rapid.SampledFrom([]string{"true", "false"}).Draw(r, "armed")}}
	})
	for i := range rapid.IntRange(1, 3).Draw(r, "grants") {
		g := bound{rapid.SampledFrom([]string{"", "projects/p", "projects/q"}).Draw(r, "scope"), access.Grant{}}
		for _, v := range rapid.SliceOfN(rapid.SampledFrom(verbs), 1, 6).Draw(r, "verbs") {
			g.Permissions = append(g.Permissions, "sample.robots."+v)
		}
		g.Fields = rapid.SliceOfN(condition, 0, 2).Draw(r, "conditions")
		f.grants = append(f.grants, g)
		grant(r, e, g.scope, fmt.Sprint("g", i), nil, g.Grant)
	}
	return f
}

// may is whether ada may do something with a robot, or with some robot of a
// project if that is nil.
func (f *fleetOf) may(verb, project string, m *samplev1.Robot) bool {
	for _, g := range f.grants {
		if g.scope != "" && g.scope != "projects/"+project || !slices.Contains(g.Permissions, "sample.robots."+verb) {
			continue
		}
		ok := true
		for _, c := range g.Fields {
			switch {
			case m == nil:
			case c.Path == "spec.color":
				ok = ok && slices.Contains(c.Values, m.GetSpec().GetColor())
			default:
				ok = ok && slices.Contains(c.Values, fmt.Sprint(m.GetSpec().GetArmed()))
			}
		}
		if ok {
			return true
		}
	}
	return false
}

// draw draws a robot of a few names.
func (f *fleetOf) draw(r *rapid.T) *samplev1.Robot {
	return &samplev1.Robot{
		Name: fmt.Sprintf("projects/%s/robots/r%d", rapid.SampledFrom([]string{"p", "q"}).Draw(r, "project"), rapid.IntRange(0, 5).Draw(r, "id")),
		Spec: &samplev1.RobotSpec{Color: rapid.SampledFrom([]string{"", "red", "blue"}).Draw(r, "color"), Armed: rapid.Bool().Draw(r, "armed")},
	}
}

// step does something as ada, and checks that exactly what she may happens.
func (f *fleetOf) step(r *rapid.T, w *world) {
	m := f.draw(r)
	parent := m.GetName()[:len("projects/p")]
	project, id := parent[len("projects/"):], m.GetName()[len("projects/p/robots/"):]
	there := f.robots[m.GetName()]
	try := func(allowed bool, name string, req proto.Message) bool {
		_, err := w.try(asAda(), name, req)
		if !allowed {
			require.Equal(r, fault.Denied, fault.KindOf(err), "%s: %v", name, err)
		}
		return err == nil
	}
	switch rapid.SampledFrom(verbs).Draw(r, "do") {
	case "create":
		may := f.may("create", project, m)
		did := try(may, createRobot, &samplev1.CreateRobotRequest{Parent: parent, RobotId: id, Robot: proto.CloneOf(m)})
		require.Equal(r, may && there == nil, did)
		if did {
			f.robots[m.GetName()] = m
		}
	case "update":
		may := f.may("update", project, there) && f.may("update", project, m)
		if there == nil {
			may = f.may("update", project, nil) && allAlways(f, "update", project)
		}
		did := try(may, updateRobot, &samplev1.UpdateRobotRequest{Robot: proto.CloneOf(m), UpdateMask: mask("spec")})
		require.Equal(r, may && there != nil, did)
		if did {
			f.robots[m.GetName()] = m
		}
	case "delete":
		may := there != nil && f.may("delete", project, there) || there == nil && allAlways(f, "delete", project)
		did := try(may, deleteRobot, &samplev1.DeleteRobotRequest{Name: m.GetName()})
		require.Equal(r, may && there != nil, did)
		if did {
			delete(f.robots, m.GetName())
		}
	default:
		may := there != nil && f.may("get", project, there) || there == nil && allAlways(f, "get", project)
		require.Equal(r, may && there != nil, try(may, getRobot, &samplev1.GetRobotRequest{Name: m.GetName()}))
	}
}

// allAlways is whether ada has a permission in a project without conditions.
func allAlways(f *fleetOf, verb, project string) bool {
	return slices.ContainsFunc(f.grants, func(g bound) bool {
		return (g.scope == "" || g.scope == "projects/"+project) && slices.Contains(g.Permissions, "sample.robots."+verb) && len(g.Fields) == 0
	})
}

// Whatever the roles, what ada may do with which robot is what a brute force over
// the grants says, and her lists, page by page, are exactly the robots that she
// may list.
func TestTerms_Oracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w, e := newTerms(t, nil)
		f := drawFleet(r, e)
		for range rapid.IntRange(0, 8).Draw(r, "robots") {
			m := f.draw(r)
			f.robots[m.GetName()] = m
			call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: proto.CloneOf(m), AllowMissing: true, UpdateMask: mask("spec")})
		}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			f.step(r, w)
		}
		for _, parent := range []string{"projects/p", "projects/-"} {
			f.list(r, w, parent)
		}
	})
}

// list checks a list, page by page.
func (f *fleetOf) list(r *rapid.T, w *world, parent string) {
	var want, got []string
	for name, m := range f.robots {
		if project := name[len("projects/") : len("projects/")+1]; f.may("list", project, m) && (parent == "projects/-" || project == "p") {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	req := &samplev1.ListRobotsRequest{Parent: parent, PageSize: int32(rapid.IntRange(1, 4).Draw(r, "page")), IncludePagingInfo: true}
	for {
		out, err := w.try(asAda(), listRobots, proto.CloneOf(req))
		if parent == "projects/p" && !f.may("list", "p", nil) {
			require.Equal(r, fault.Denied, fault.KindOf(err))
			return
		}
		require.NoError(r, err)
		page := out.(*samplev1.ListRobotsResponse)
		require.Equal(r, []int64{int64(len(got)), int64(len(want))}, []int64{page.GetPagingInfo().GetOffset(), page.GetPagingInfo().GetTotal()})
		for _, m := range page.GetRobots() {
			got = append(got, m.GetName())
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			require.Equal(r, want, got)
			return
		}
		require.Len(r, page.GetRobots(), int(req.GetPageSize()), "a page before the last is full")
	}
}

// A transaction that another process made meanwhile counts: what is decided
// about is what is read.
func TestTerms_SameTransaction(t *testing.T) {
	t.Parallel()
	var once bool
	var w *world
	w, e := newTerms(t, func(o *service.Options) {
		authorize := o.Authorize
		o.Authorize = func(ctx context.Context, permission string, name resource.Name) error {
			if permission == "sample.robots.update" && iam.PrincipalOf(ctx).Kind == iam.User && !once {
				once = true // after the first look at what may be
				_, err := w.try(w.ctx, updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("r", "blue"), UpdateMask: mask("spec.color")})
				require.NoError(t, err)
			}
			return authorize(ctx, permission, name)
		}
	})
	grant(t, e, "", "red", nil, access.Grant{Permissions: []string{"sample.robots.*"}, Fields: isRed})
	w.robot("r", painted("r", "red"))
	w.failsAs(asAda(), fault.Denied, "PERMISSION_DENIED", "sample.robots.update", updateRobot, &samplev1.UpdateRobotRequest{Robot: painted("r", "red"), UpdateMask: mask("spec.color")})
	require.True(t, once)
}
