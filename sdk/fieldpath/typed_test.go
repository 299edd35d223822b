package fieldpath_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// robots is as generated code has it.
var robots = struct {
	Name        fieldpath.Typed[*samplev1.Robot, string]
	Power       fieldpath.Typed[*samplev1.Robot, float64]
	Armed       fieldpath.Typed[*samplev1.Robot, bool]
	Generation  fieldpath.Typed[*samplev1.Robot, int64]
	Phase       fieldpath.Typed[*samplev1.Robot, samplev1.RobotState_Phase]
	SeenTime    fieldpath.Typed[*samplev1.Robot, *timestamppb.Timestamp]
	Tags        fieldpath.Typed[*samplev1.Robot, string]
	Labels      fieldpath.Typed[*samplev1.Robot, string]
	Parts       fieldpath.Typed[*samplev1.Robot, *samplev1.Part]
	PartsCount  fieldpath.Typed[*samplev1.Robot, int32]
	Spares      fieldpath.Typed[*samplev1.Robot, *samplev1.Part]
	SparesANote fieldpath.Typed[*samplev1.Robot, string]
}{
	Name:        fieldpath.Of[*samplev1.Robot, string]("name"),
	Power:       fieldpath.Of[*samplev1.Robot, float64]("spec.power"),
	Armed:       fieldpath.Of[*samplev1.Robot, bool]("spec.armed"),
	Generation:  fieldpath.Of[*samplev1.Robot, int64]("metadata.generation"),
	Phase:       fieldpath.Of[*samplev1.Robot, samplev1.RobotState_Phase]("state.phase"),
	SeenTime:    fieldpath.Of[*samplev1.Robot, *timestamppb.Timestamp]("state.seen_time"),
	Tags:        fieldpath.Of[*samplev1.Robot, string]("metadata.tags"),
	Labels:      fieldpath.Of[*samplev1.Robot, string]("metadata.labels"),
	Parts:       fieldpath.Of[*samplev1.Robot, *samplev1.Part]("spec.parts"),
	PartsCount:  fieldpath.Of[*samplev1.Robot, int32]("spec.parts.count"),
	Spares:      fieldpath.Of[*samplev1.Robot, *samplev1.Part]("spec.spares"),
	SparesANote: fieldpath.Of[*samplev1.Robot, string]("spec.spares.a.note"),
}

// one sets a value, gets it back, and clears it.
func one[V any](t *testing.T, path fieldpath.Typed[*samplev1.Robot, V], v V) {
	t.Helper()
	m := &samplev1.Robot{}
	path.Set(m, v)
	got, ok := path.Get(m)
	require.True(t, ok)
	require.Equal(t, v, got)
	require.Equal(t, []V{v}, path.All(m))
	path.Clear(m)
	require.False(t, path.Path().Has(m.ProtoReflect()))
}

func TestTyped_SetGetClear(t *testing.T) {
	t.Parallel()
	one(t, robots.Name, "n")
	one(t, robots.Power, 1.5)
	one(t, robots.Armed, true)
	one(t, robots.Generation, 7)
	one(t, robots.Phase, samplev1.RobotState_BUSY)
	one(t, robots.SeenTime, timestamppb.New(time.Unix(1, 0)))
	one(t, robots.Tags, "a")
	one(t, robots.Labels.At("a.b"), "v")
	one(t, robots.Parts, &samplev1.Part{Serial: "s"})
	one(t, robots.Spares.At("a"), &samplev1.Part{Serial: "s"})
	one(t, robots.SparesANote, "n")
}

func TestTyped_Lists(t *testing.T) {
	t.Parallel()
	m := &samplev1.Robot{Spec: &samplev1.RobotSpec{Power: 1}}
	robots.Parts.Set(m, &samplev1.Part{Count: 1}, &samplev1.Part{Count: 2})
	robots.Tags.Set(m, "a", "b")
	require.Equal(t, []int32{1, 2}, robots.PartsCount.All(m))
	require.Equal(t, []string{"a", "b"}, robots.Tags.All(m))
	first, ok := robots.Tags.Get(m)
	require.True(t, ok)
	require.Equal(t, "a", first)
	robots.PartsCount.Clear(m)
	require.Equal(t, []int32{0, 0}, robots.PartsCount.All(m))
	robots.Parts.Set(m)
	robots.Tags.Set(m)
	require.True(t, proto.Equal(&samplev1.Robot{Spec: &samplev1.RobotSpec{Power: 1}, Metadata: m.Metadata}, m))
	require.Empty(t, robots.Parts.All(m))
}

func TestTyped_Unset(t *testing.T) {
	t.Parallel()
	for _, m := range []*samplev1.Robot{nil, {}} {
		_, ok := robots.Power.Get(m)
		require.False(t, ok)
		_, ok = robots.SeenTime.Get(m)
		require.False(t, ok)
		require.Empty(t, robots.Parts.All(m))
	}
	zero, ok := robots.Name.Get(&samplev1.Robot{})
	require.True(t, ok)
	require.Empty(t, zero)

	m := &samplev1.Robot{State: &samplev1.RobotState{SeenTime: timestamppb.Now()}}
	robots.SeenTime.Set(m, nil)
	require.Nil(t, m.State.SeenTime)
	require.Equal(t, "spec.parts.*.count", robots.PartsCount.String())
}

func TestTyped_Bugs(t *testing.T) {
	t.Parallel()
	f := func(want string, do func()) {
		t.Helper()
		defer func() {
			t.Helper()
			text, ok := recover().(string)
			require.True(t, ok)
			require.Regexp(t, "^BUG: .*"+want, text)
		}()
		do()
	}
	m := &samplev1.Robot{}
	f(`no field "speed"`, func() { _ = fieldpath.Of[*samplev1.Robot, float64]("spec.speed").String() })
	f("spec.power has no values of type string", func() { fieldpath.Of[*samplev1.Robot, string]("spec.power").Get(m) })
	f("spec.power has no values of type", func() { fieldpath.Of[*samplev1.Robot, any]("spec.power").Get(m) })
	f("state.phase has no values of type", func() { fieldpath.Of[*samplev1.Robot, resourcev1.Part]("state.phase").Get(m) })
	f("spec.parts has no values of type", func() { fieldpath.Of[*samplev1.Robot, *samplev1.Alias]("spec.parts").Get(m) })
	f("2 values for name", func() { robots.Name.Set(m, "a", "b") })
	f("many values", func() { robots.PartsCount.Set(m, 1) })
	f("is not what", func() { robots.Labels.Set(m, "a") })
	f("no keys of type int", func() { _ = robots.Labels.At(1).String() })
	f("no keys of type string", func() { _ = robots.Name.At("a").String() })
	require.True(t, proto.Equal(&samplev1.Robot{}, m))
}

// newOf is a new message of the type, which is linked into the test.
func newOf(md protoreflect.MessageDescriptor) protoreflect.Message {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return mt.New()
}

func BenchmarkTyped_Get(b *testing.B) {
	m := &samplev1.Robot{Spec: &samplev1.RobotSpec{Power: 1.5}}
	b.ReportAllocs()
	for b.Loop() {
		robots.Power.Get(m)
	}
}

func BenchmarkTyped_Set(b *testing.B) {
	m := &samplev1.Robot{Spec: &samplev1.RobotSpec{Power: 1.5}}
	b.ReportAllocs()
	for b.Loop() {
		robots.Power.Set(m, 2)
	}
}
