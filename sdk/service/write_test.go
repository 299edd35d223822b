package service_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// The methods of robots that change something.
const (
	createRobot = "RobotService.CreateRobot"
	updateRobot = "RobotService.UpdateRobot"
	deleteRobot = "RobotService.DeleteRobot"
)

// mask is an update or a read mask.
func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// google.aip.dev/133.
func TestCreate_Names(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	f := func(parent, id, want string) {
		t.Helper()
		got := call[*samplev1.Robot](w, createRobot, &samplev1.CreateRobotRequest{Parent: parent, RobotId: id, Robot: &samplev1.Robot{Name: "ignored"}})
		require.Regexp(t, "^"+want+"$", got.GetName())
	}
	f("projects/p", "r", "projects/p/robots/r")
	f("projects/p/regions/eu", "r", "projects/p/regions/eu/robots/r")
	f("projects/p", "", "projects/p/robots/[a-f][0-9a-f-]{35}")
	f("projects/q", "R2.d2~x", "projects/q/robots/R2.d2~x")

	refused := func(parent, id string, kind fault.Kind, reason, field string) {
		t.Helper()
		w.fails(kind, reason, field, createRobot, &samplev1.CreateRobotRequest{Parent: parent, RobotId: id, Robot: &samplev1.Robot{}})
	}
	refused("projects/p", "a/b", fault.Invalid, "INVALID_NAME", "robot_id")
	refused("projects/p", "-", fault.Invalid, "INVALID_NAME", "robot_id")
	refused("projects/p", strings.Repeat("a", 129), fault.Invalid, "INVALID_NAME", "robot_id")
	refused("projects/-", "r", fault.Invalid, "INVALID_NAME", "parent")
	refused("", "r", fault.Invalid, "INVALID_NAME", "parent")
	refused("projects/P", "r", fault.Invalid, "INVALID_NAME", "parent")
	refused("projects/p/robots/r", "r", fault.Invalid, "INVALID_NAME", "parent")
	refused("projects/none", "r", fault.NotFound, "NOT_FOUND", "parent")
	refused("projects/p", "r", fault.Exists, "ALREADY_EXISTS", "")
	w.fails(fault.Invalid, "INVALID_FIELD", "robot", createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p"})
	w.fails(fault.Invalid, "INVALID_NAME", "parent", "ProjectService.CreateProject", &samplev1.CreateProjectRequest{Parent: "projects/p", ProjectId: "x", Project: &samplev1.Project{}})
	w.fails(fault.Invalid, "INVALID_NAME", "project_id", "ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: "X", Project: &samplev1.Project{}})
}

// Output-only fields of a request are not looked at (google.aip.dev/203).
func TestWrite_IgnoresOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	forged := func() *samplev1.Robot {
		return &samplev1.Robot{Name: "projects/p/robots/r", Metadata: &resourcev1.Metadata{
			Uid: "forged", CreateTime: &timestamppb.Timestamp{Seconds: 1}, Generation: 99, Shards: map[string]int64{"a": 1},
			Syncing: &resourcev1.Syncing{OwningRegion: "forged"}, Lifecycle: &resourcev1.Lifecycle{State: resourcev1.Lifecycle_DELETING},
			Labels:          map[string]string{"a": "b"},
			OwnerReferences: []*resourcev1.OwnerReference{{Name: "projects/p/robots/x", Type: "sample.selvedge.dev/Robot", AttachTime: &timestamppb.Timestamp{Seconds: 1}}},
		}}
	}
	check := func(m *samplev1.Robot) {
		t.Helper()
		md := m.GetMetadata()
		require.NotEqual(t, "forged", md.GetUid())
		require.NotEqual(t, "forged", md.GetSyncing().GetOwningRegion())
		require.NotEqual(t, int64(1), md.GetCreateTime().GetSeconds())
		require.Equal(t, resourcev1.Lifecycle_STATE_UNSPECIFIED, md.GetLifecycle().GetState()&resourcev1.Lifecycle_DELETING)
		require.Empty(t, md.GetShards())
		require.NotEqual(t, int64(99), md.GetGeneration())
		require.NotEqual(t, int64(1), md.GetOwnerReferences()[0].GetAttachTime().GetSeconds())
		require.Equal(t, map[string]string{"a": "b"}, md.GetLabels())
	}
	made := w.robot("r", forged())
	check(made)
	uid := made.GetMetadata().GetUid()
	for _, m := range []*fieldmaskpb.FieldMask{nil, mask("*"), mask("metadata"), mask("metadata.uid", "metadata.labels", "name", "display_name")} {
		changed := forged()
		changed.DisplayName = m.String()
		got := call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: changed, UpdateMask: m})
		check(got)
		require.Equal(t, uid, got.GetMetadata().GetUid())
		require.Equal(t, "projects/p/robots/r", got.GetName())
	}
}

func TestWrite_FieldRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	f := func(r *samplev1.Robot, field, text string) {
		t.Helper()
		for name, req := range map[string]proto.Message{
			createRobot: &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: r},
			updateRobot: &samplev1.UpdateRobotRequest{Robot: r},
		} {
			e := w.fails(fault.Invalid, "INVALID_FIELD", field, name, req)
			require.Contains(t, e.Message(), text)
			require.Less(t, len(e.Message()), 5000)
		}
	}
	w.robot("r", &samplev1.Robot{})
	name := "projects/p/robots/r"
	f(&samplev1.Robot{Name: name, DisplayName: strings.Repeat("x", 201)}, "displayName", "displayName: must be at most 200 characters")
	f(&samplev1.Robot{Name: name, Spec: &samplev1.RobotSpec{Aliases: []*samplev1.Alias{{Network: "n"}, {}}}}, "spec.aliases[1].network", "at least 1 character")
	f(&samplev1.Robot{Name: name, Metadata: &resourcev1.Metadata{OwnerReferences: []*resourcev1.OwnerReference{{Name: "x"}}}}, "metadata.ownerReferences[0].type", "value is required")
	f(&samplev1.Robot{Name: name, DisplayName: strings.Repeat("x", 201), Spec: &samplev1.RobotSpec{Parts: make([]*samplev1.Part, 101)}}, "displayName", "; spec.parts: ")
	many := make([]*samplev1.Alias, 100)
	for i := range many {
		many[i] = &samplev1.Alias{}
	}
	f(&samplev1.Robot{Name: name, Spec: &samplev1.RobotSpec{Aliases: many}}, "spec.aliases[0].network", "and 80 more")
}

// google.aip.dev/134 and 161.
func TestUpdate_Masks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	base := &samplev1.Robot{
		DisplayName: "one", Metadata: &resourcev1.Metadata{Labels: map[string]string{"a": "1", "b": "2"}},
		Spec: &samplev1.RobotSpec{
			Color: "red", Power: 7, Pin: "secret", Serial: "s",
			Spares: map[string]*samplev1.Part{"x": {Serial: "sx", Count: 1}, "y.z": {Serial: "sy", Count: 2}},
			Parts:  []*samplev1.Part{{Serial: "p1"}, {Serial: "p2"}},
		},
	}
	n := 0
	f := func(m *fieldmaskpb.FieldMask, given *samplev1.Robot, want func(*samplev1.Robot)) {
		t.Helper()
		n++
		id := "r" + string(rune('a'+n))
		w.robot(id, proto.CloneOf(base))
		before := w.get(id)
		given.Name = before.GetName()
		call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: given, UpdateMask: m})
		after := w.get(id)
		want(before)
		for _, r := range []*samplev1.Robot{before, after} {
			r.Metadata = &resourcev1.Metadata{Labels: r.GetMetadata().GetLabels()}
			if len(r.GetMetadata().GetLabels()) == 0 {
				r.Metadata.Labels = nil
			}
		}
		require.True(t, proto.Equal(before, after), "want %v\ngot  %v", before, after)
	}
	serial := &samplev1.RobotSpec{Serial: "s"}
	// Without a mask: what is populated.
	f(nil, &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "blue"}}, func(r *samplev1.Robot) { r.Spec.Color = "blue" })
	f(mask(), &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "blue"}}, func(r *samplev1.Robot) { r.Spec.Color = "blue" })
	f(nil, &samplev1.Robot{Spec: &samplev1.RobotSpec{}}, func(*samplev1.Robot) {})
	// By paths, also of what is not set, and of keys.
	f(mask("display_name"), &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "blue"}}, func(r *samplev1.Robot) { r.DisplayName = "" })
	f(mask("spec.color", "displayName"), &samplev1.Robot{Spec: &samplev1.RobotSpec{Color: "blue"}}, func(r *samplev1.Robot) { r.Spec.Color, r.DisplayName = "blue", "" })
	f(mask("metadata.labels.a", "metadata.labels.c"), &samplev1.Robot{Metadata: &resourcev1.Metadata{Labels: map[string]string{"b": "no", "c": "3"}}},
		func(r *samplev1.Robot) { r.Metadata.Labels = map[string]string{"b": "2", "c": "3"} })
	f(mask("spec.spares.`y.z`.count"), &samplev1.Robot{Spec: &samplev1.RobotSpec{Spares: map[string]*samplev1.Part{"y.z": {Count: 5, Note: "no"}}}},
		func(r *samplev1.Robot) { r.Spec.Spares["y.z"].Count = 5 })
	f(mask("spec.parts"), &samplev1.Robot{Spec: &samplev1.RobotSpec{Parts: []*samplev1.Part{{Serial: "p3"}}}},
		func(r *samplev1.Robot) { r.Spec.Parts = []*samplev1.Part{{Serial: "p3"}} })
	// "*" replaces the whole.
	f(mask("*"), &samplev1.Robot{DisplayName: "two", Spec: serial}, func(r *samplev1.Robot) {
		r.DisplayName, r.Spec, r.Metadata = "two", serial, nil
	})

	refused := func(m *fieldmaskpb.FieldMask, reason string) {
		t.Helper()
		w.robot("x", proto.CloneOf(base))
		w.fails(fault.Invalid, reason, "update_mask", updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/x"}, UpdateMask: m})
		call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/x"})
	}
	refused(mask("nonsense"), "INVALID_MASK")
	refused(mask("spec.spares.*.count"), "INVALID_UPDATE_MASK")
	refused(mask("spec.parts.serial"), "INVALID_UPDATE_MASK")
}

func TestUpdate_Immutable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{Spec: &samplev1.RobotSpec{Serial: "s"}})
	f := func(serial string, m *fieldmaskpb.FieldMask) {
		t.Helper()
		e := w.fails(fault.Invalid, "IMMUTABLE_FIELD", "spec.serial", updateRobot,
			&samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Serial: serial}}, UpdateMask: m})
		require.Contains(t, e.Message(), "spec.serial cannot be changed")
	}
	w.robot("bare", &samplev1.Robot{})
	call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/bare", Spec: &samplev1.RobotSpec{Color: "red"}}})
	f("t", nil)
	f("", mask("spec.serial"))
	f("", mask("*"))
	call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Serial: "s"}}, UpdateMask: mask("*")})
}

func TestUpdate_AllowMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	req := func(display string, m *fieldmaskpb.FieldMask) *samplev1.UpdateRobotRequest {
		return &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: display}, UpdateMask: m, AllowMissing: true}
	}
	missing := req("a", nil)
	missing.AllowMissing = false
	w.fails(fault.NotFound, "NOT_FOUND", "", updateRobot, missing)
	// The mask is for what exists: what is made has everything.
	require.Equal(t, "a", call[*samplev1.Robot](w, updateRobot, req("a", mask("spec"))).GetDisplayName())
	require.Equal(t, "b", call[*samplev1.Robot](w, updateRobot, req("b", nil)).GetDisplayName())
	orphan := req("a", nil)
	orphan.Robot.Name = "projects/none/robots/r"
	w.fails(fault.NotFound, "NOT_FOUND", "parent", updateRobot, orphan)
	orphan.Robot.Name = "projects/none"
	w.fails(fault.Invalid, "INVALID_NAME", "robot.name", updateRobot, orphan)
}

// google.aip.dev/154: what was changed since is aborted.
func TestUpdate_Etag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.robot("r", &samplev1.Robot{})
	first.DisplayName = "second"
	second := call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: proto.CloneOf(first)})
	require.NotEqual(t, first.GetMetadata().GetResourceVersion(), second.GetMetadata().GetResourceVersion())
	first.DisplayName = "third"
	for _, m := range []*fieldmaskpb.FieldMask{nil, mask("*"), mask("display_name")} {
		w.fails(fault.Conflict, "ETAG_MISMATCH", "", updateRobot, &samplev1.UpdateRobotRequest{Robot: first, UpdateMask: m})
	}
	w.fails(fault.Conflict, "ETAG_MISMATCH", "", updateRobot, &samplev1.UpdateRobotRequest{
		AllowMissing: true,
		Robot:        &samplev1.Robot{Name: "projects/p/robots/none", Metadata: &resourcev1.Metadata{ResourceVersion: "1"}},
	})
	w.fails(fault.Conflict, "ETAG_MISMATCH", "", deleteRobot, &samplev1.DeleteRobotRequest{Name: first.GetName(), Etag: first.GetMetadata().GetResourceVersion()})
	// A change of nothing is none.
	same := call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: proto.CloneOf(second)})
	require.True(t, proto.Equal(second, same))
	call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: first.GetName(), Etag: second.GetMetadata().GetResourceVersion()})
}

func TestUpdate_Cas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{DisplayName: "a", Spec: &samplev1.RobotSpec{Color: "red", Pin: "1"}})
	w.now = w.now.Add(1)
	try := func(state *samplev1.Robot, m *fieldmaskpb.FieldMask) *samplev1.UpdateRobotRequest {
		return &samplev1.UpdateRobotRequest{
			Robot: &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Power: 1}},
			Cas:   &samplev1.UpdateRobotRequest_Cas{ConditionalState: state, FieldMask: m}, AllowMissing: true,
		}
	}
	mismatch := func(state *samplev1.Robot, m *fieldmaskpb.FieldMask) {
		t.Helper()
		w.fails(fault.Conflict, "CAS_MISMATCH", "", updateRobot, try(state, m))
	}
	mismatch(nil, nil) // it must not exist
	mismatch(&samplev1.Robot{DisplayName: "b"}, mask("display_name"))
	mismatch(&samplev1.Robot{}, mask("spec.color"))
	mismatch(&samplev1.Robot{DisplayName: "a"}, nil)
	w.fails(fault.Invalid, "INVALID_MASK", "cas.field_mask", updateRobot, try(&samplev1.Robot{}, mask("spec.pin")))
	w.fails(fault.Invalid, "INVALID_MASK", "cas.field_mask", updateRobot, try(&samplev1.Robot{}, mask("spec")))
	w.fails(fault.Invalid, "INVALID_MASK", "cas.field_mask", updateRobot, try(&samplev1.Robot{}, mask("nonsense")))
	call[*samplev1.Robot](w, updateRobot, try(&samplev1.Robot{DisplayName: "a"}, mask("display_name")))
	current := w.get("r")
	current.Spec.Pin = "" // who cannot read it need not know it
	call[*samplev1.Robot](w, updateRobot, try(current, nil))
	absent := try(nil, nil)
	absent.Robot.Name += "2"
	call[*samplev1.Robot](w, updateRobot, proto.CloneOf(absent))
	w.fails(fault.Conflict, "CAS_MISMATCH", "", updateRobot, absent)
	gone := try(&samplev1.Robot{}, mask("display_name"))
	gone.Robot.Name += "3"
	w.fails(fault.Conflict, "CAS_MISMATCH", "", updateRobot, gone)
}

// google.aip.dev/135.
func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.robot("r", &samplev1.Robot{})
	name := "projects/p/robots/r"
	plan := call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: name, ValidateOnly: true})
	require.Equal(t, name, plan.GetConsequences()[0].GetName())
	w.get("r")
	done := call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: name})
	require.True(t, proto.Equal(plan, done))
	w.fails(fault.NotFound, "NOT_FOUND", "", deleteRobot, &samplev1.DeleteRobotRequest{Name: name})
	none := call[*resourcev1.DeletionPlan](w, deleteRobot, &samplev1.DeleteRobotRequest{Name: name, AllowMissing: true})
	require.Empty(t, none.GetConsequences())
	w.fails(fault.Invalid, "INVALID_NAME", "name", deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/-"})
}

// google.aip.dev/163: everything but the commit.
func TestWrite_ValidateOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	made := call[*samplev1.Robot](w, createRobot, &samplev1.CreateRobotRequest{
		Parent: "projects/p", RobotId: "r", ValidateOnly: true, RequestId: "1",
		Robot: &samplev1.Robot{Spec: &samplev1.RobotSpec{Pin: "1"}},
	})
	require.Equal(t, "projects/p/robots/r", made.GetName())
	require.Empty(t, made.GetSpec().GetPin())
	w.fails(fault.NotFound, "NOT_FOUND", "", "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: made.GetName()})
	w.fails(fault.NotFound, "NOT_FOUND", "parent", createRobot, &samplev1.CreateRobotRequest{Parent: "projects/none", Robot: &samplev1.Robot{}, ValidateOnly: true})
	w.robot("r", &samplev1.Robot{DisplayName: "a"})
	w.fails(fault.Exists, "ALREADY_EXISTS", "", createRobot, &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: "r", Robot: &samplev1.Robot{}, ValidateOnly: true})
	changed := call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: made.GetName(), DisplayName: "b"}, ValidateOnly: true})
	require.Equal(t, "b", changed.GetDisplayName())
	require.Equal(t, "a", w.get("r").GetDisplayName())
}

func TestHooks(t *testing.T) {
	t.Parallel()
	var saved []string
	var w *world
	w = newWorld(t, func(o *service.Options) {
		o.Hooks = []service.Hook{service.On(service.Hooks[*samplev1.Robot]{
			Default: func(_ context.Context, m *samplev1.Robot) error {
				if m.GetDisplayName() == "" {
					m.DisplayName = "nameless"
				}
				return nil
			},
			Validate: func(_ context.Context, old, m *samplev1.Robot) error {
				if old.GetDisplayName() == "fixed" && m.GetDisplayName() != "fixed" {
					return &fault.Error{Kind: fault.Precondition, Reason: "FIXED"}
				}
				return nil
			},
			Saved: func(ctx context.Context, old, m *samplev1.Robot) error {
				saved = append(saved, old.GetName()+">"+m.GetName())
				if old == nil {
					return w.store.Save(ctx, &samplev1.Model{Name: "projects/p/models/of-" + m.GetDisplayName()}, store.SaveOptions{})
				}
				return nil
			},
			Deleting: func(_ context.Context, m *samplev1.Robot) error {
				if m.GetDisplayName() == "fixed" {
					return &fault.Error{Kind: fault.Precondition, Reason: "FIXED"}
				}
				return nil
			},
		})}
	})
	require.Equal(t, "nameless", w.robot("r", &samplev1.Robot{}).GetDisplayName())
	call[*samplev1.Model](w, "ModelService.GetModel", &samplev1.GetModelRequest{Name: "projects/p/models/of-nameless"})
	call[*samplev1.Robot](w, updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "fixed"}})
	require.Equal(t, []string{">projects/p/robots/r", "projects/p/robots/r>projects/p/robots/r"}, saved)
	w.fails(fault.Precondition, "FIXED", "", updateRobot, &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "b"}})
	w.fails(fault.Precondition, "FIXED", "", deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"})
}
