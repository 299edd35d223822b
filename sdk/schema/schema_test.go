package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// sample is a registry with the sample services.
func sample(t *testing.T) *schema.Registry {
	t.Helper()
	var r schema.Registry
	secretsv1.AddTo(&r)
	samplev1.AddTo(&r)
	require.NoError(t, r.Check())
	return &r
}

// texts are paths as text.
func texts(paths []fieldpath.Path) []string {
	var out []string
	for _, p := range paths {
		out = append(out, p.String())
	}
	return out
}

func TestRegistry_ReadsTheSample(t *testing.T) {
	t.Parallel()
	r := sample(t)
	require.Len(t, r.Services(), 2)
	s := r.Services()[1]
	require.Equal(t, "sample.selvedge.dev", s.Domain)
	require.Equal(t, "v1", s.Version)
	require.Equal(t, []string{"secrets.sample.selvedge.dev"}, s.Imports)

	robot, ok := r.Type("sample.selvedge.dev/Robot")
	require.True(t, ok)
	require.Same(t, robot, r.Of(&samplev1.Robot{}))
	require.Equal(t, []string{"spec.pin", "state.token"}, texts(robot.Secrets))
	require.Equal(t, []string{"spec.serial"}, texts(robot.Immutable))
	require.Equal(t, []string{"state"}, texts(robot.State))
	require.Equal(t, []string{"metadata"}, texts(robot.Meta))
	require.Contains(t, texts(robot.OutputOnly), "metadata.create_time")
	require.Nil(t, robot.Policy)
	require.Equal(t, "sample.robots.create", robot.Permission("create"))

	project, ok := r.Type("sample.selvedge.dev/Project")
	require.True(t, ok)
	require.Equal(t, "multi_region_policy", string(project.Policy.Name()))

	found, err := r.Resolve("projects/p/regions/e/robots/r")
	require.NoError(t, err)
	require.Same(t, robot, found)
	_, err = r.Resolve("projects/p/nothing/n")
	require.ErrorContains(t, err, "the name of no type")
}

func TestRegistry_ReadsReferences(t *testing.T) {
	t.Parallel()
	robot, ok := sample(t).Type("sample.selvedge.dev/Robot")
	require.True(t, ok)
	want := []struct {
		path, kind string
		onDelete   resourcev1.OnDelete
	}{
		{"spec.model", "sample.selvedge.dev/Model", resourcev1.OnDelete_BLOCK},
		{"spec.leader", "sample.selvedge.dev/Robot", resourcev1.OnDelete_UNSET},
		{"spec.host", "sample.selvedge.dev/Robot", resourcev1.OnDelete_CASCADE_DELETE},
		{"spec.friends", "sample.selvedge.dev/Robot", resourcev1.OnDelete_ASYNC_UNSET},
		{"spec.master", "sample.selvedge.dev/Robot", resourcev1.OnDelete_ASYNC_CASCADE_DELETE},
		{"spec.ancestor", "sample.selvedge.dev/Robot", resourcev1.OnDelete_ALLOW_DANGLING},
		{"spec.secret", "secrets.sample.selvedge.dev/Secret", resourcev1.OnDelete_BLOCK},
	}
	require.Len(t, robot.References, len(want))
	for i, w := range want {
		got := robot.References[i]
		require.Equal(t, w.path, got.Path.String())
		require.Equal(t, w.kind, got.Type, w.path)
		require.Equal(t, w.onDelete, got.OnDelete, w.path)
		require.False(t, got.Required, w.path)
		_, ok := robot.Index(w.path)
		require.True(t, ok, "a reference is looked up when its target goes: %s", w.path)
	}
}

func TestRegistry_ReadsIndexes(t *testing.T) {
	t.Parallel()
	robot, ok := sample(t).Type("sample.selvedge.dev/Robot")
	require.True(t, ok)
	f := func(path string, many, keyed, unique bool) {
		t.Helper()
		x, ok := robot.Index(path)
		require.True(t, ok, path)
		require.Equal(t, []bool{many, keyed, unique}, []bool{x.Many, x.Keyed, x.Unique}, path)
	}
	f("metadata.create_time", false, false, false)
	f("metadata.tags", true, false, false)
	f("metadata.labels", true, true, false)
	f("metadata.delete_time", true, false, false)
	f("spec.power", false, false, false)
	f("spec.parts.*.serial", true, false, false)
	f("spec.friends", true, false, false)
	f("state.phase", false, false, false)
	f("spec.aliases", true, false, true)
	x, _ := robot.Index("spec.aliases")
	require.Equal(t, "project", x.Within)
	_, ok = robot.Index("spec.color")
	require.False(t, ok)
}

func TestRegistry_ReadsMethods(t *testing.T) {
	t.Parallel()
	r := sample(t)
	f := func(name string, verb resourcev1.Method, collection bool, permission string) {
		t.Helper()
		m, ok := r.Method("selvedge.sample.v1." + protoName(name))
		require.True(t, ok, name)
		require.Equal(t, verb, m.Verb, name)
		require.Equal(t, collection, m.Collection, name)
		require.Equal(t, permission, m.Permission, name)
		require.NotNil(t, m.Resource, name)
	}
	f("RobotService.GetRobot", resourcev1.Method_GET, false, "sample.robots.get")
	f("RobotService.BatchGetRobots", resourcev1.Method_BATCH_GET, false, "sample.robots.get")
	f("RobotService.ListRobots", resourcev1.Method_LIST, false, "sample.robots.list")
	f("RobotService.SearchRobots", resourcev1.Method_SEARCH, false, "sample.robots.search")
	f("RobotService.CreateRobot", resourcev1.Method_CREATE, false, "sample.robots.create")
	f("RobotService.UpdateRobot", resourcev1.Method_UPDATE, false, "sample.robots.update")
	f("RobotService.DeleteRobot", resourcev1.Method_DELETE, false, "sample.robots.delete")
	f("RobotService.WatchRobot", resourcev1.Method_WATCH, false, "sample.robots.watch")
	f("RobotService.WatchRobots", resourcev1.Method_WATCH, true, "sample.robots.watch")
	f("Fleet.PaintRobot", resourcev1.Method_METHOD_UNSPECIFIED, false, "sample.robots.update")
	f("Fleet.MoveOrders", resourcev1.Method_METHOD_UNSPECIFIED, false, "sample.orders.move")

	m, _ := r.Method("selvedge.sample.v1.Fleet.MoveOrders")
	require.Equal(t, "/selvedge.sample.v1.Fleet/MoveOrders", m.Procedure())
	require.Equal(t, resourcev1.Transaction_MANUAL, m.Options.GetTransaction())
}

func TestNames_OfTheSample(t *testing.T) {
	t.Parallel()
	f := func(text string, want samplev1.RobotName) {
		t.Helper()
		got, err := samplev1.ParseRobotName(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
	f("projects/p/robots/r", samplev1.RobotName{Project: "p", Robot: "r"})
	f("projects/p/regions/e/robots/r", samplev1.RobotName{Project: "p", Region: "e", Robot: "r"})
	f("projects/-/regions/e/robots/-", samplev1.RobotName{Project: "-", Region: "e", Robot: "-"})

	n := samplev1.RobotName{Project: "-", Region: "e", Robot: "-"}
	require.True(t, n.Match("projects/p/regions/e/robots/r"))
	require.False(t, n.Match("projects/p/regions/f/robots/r"))
	require.False(t, n.Match("projects/p/robots/r"))
	require.Equal(t, "projects/-/regions/e", string(n.Parent()))
	_, err := samplev1.ParseRobotName("projects/p/robots")
	require.ErrorContains(t, err, "segment 4 is missing")
}

// TestPaths_OfTheSample uses a generated path of every kind of value.
func TestPaths_OfTheSample(t *testing.T) {
	t.Parallel()
	r := &samplev1.Robot{
		DisplayName: "Rob",
		Spec: &samplev1.RobotSpec{
			Power: 7, Armed: true, Friends: []string{"a", "b"},
			Parts:  []*samplev1.Part{{Serial: "s1", Count: 1}, {Serial: "s2", Count: 2}},
			Spares: map[string]*samplev1.Part{"arm": {Note: "left"}},
		},
		State: &samplev1.RobotState{Phase: samplev1.RobotState_BUSY},
	}
	require.Equal(t, []string{"Rob"}, samplev1.RobotPathDisplayName.All(r))
	require.Equal(t, []float64{7}, samplev1.RobotPathSpecPower.All(r))
	require.Equal(t, []bool{true}, samplev1.RobotPathSpecArmed.All(r))
	require.Equal(t, []string{"a", "b"}, samplev1.RobotPathSpecFriends.All(r))
	require.Equal(t, []int32{1, 2}, samplev1.RobotPathSpecPartsCount.All(r))
	require.Equal(t, []string{"left"}, samplev1.RobotPathSpecSparesNote.All(r))
	require.Equal(t, []samplev1.RobotState_Phase{samplev1.RobotState_BUSY}, samplev1.RobotPathStatePhase.All(r))
	require.Len(t, samplev1.RobotPathSpecParts.All(r), 2)
	require.Len(t, samplev1.RobotPathSpecSpares.All(r), 1)
	require.Empty(t, samplev1.RobotPathSpecUptimeGoal.All(r))
	require.Empty(t, samplev1.RobotPathMetadata.All(r))
}
