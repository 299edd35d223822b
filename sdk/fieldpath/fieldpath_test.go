package fieldpath_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// robotType describes what most tests are about.
var robotType = (*samplev1.Robot)(nil).ProtoReflect().Descriptor()

// parse is the path of robots of a text.
func parse(t testing.TB, text string) fieldpath.Path {
	t.Helper()
	p, err := fieldpath.Parse(robotType, text)
	require.NoError(t, err)
	return p
}

// read is the robot of a text.
func read(t testing.TB, text string) *samplev1.Robot {
	t.Helper()
	m := &samplev1.Robot{}
	require.NoError(t, prototext.Unmarshal([]byte(text), m))
	return m
}

// texts are the texts of values.
func texts(values []fieldpath.Value) []string {
	var s []string
	for _, v := range values {
		s = append(s, v.Text())
	}
	return s
}

func TestParse_Texts(t *testing.T) {
	t.Parallel()
	f := func(text, canonical, camel string, many, inside bool) {
		t.Helper()
		p := parse(t, text)
		require.Equal(t, canonical, p.String())
		require.Equal(t, camel, p.JSON())
		require.Equal(t, canonical, parse(t, camel).String())
		require.Equal(t, canonical, fieldpath.Path{}.Append(p.Steps()...).String())
		require.Equal(t, many, p.Many())
		require.Equal(t, inside, p.Inside())
	}
	f("name", "name", "name", false, false)
	f("displayName", "display_name", "displayName", false, false)
	f("spec.uptimeGoal.seconds", "spec.uptime_goal.seconds", "spec.uptimeGoal.seconds", false, false)
	f("spec.parts", "spec.parts", "spec.parts", true, false)
	f("spec.parts.*", "spec.parts.*", "spec.parts.*", true, true)
	f("spec.parts.serial", "spec.parts.*.serial", "spec.parts.*.serial", true, false)
	f("metadata.labels", "metadata.labels", "metadata.labels", true, false)
	f("metadata.labels.myKey", "metadata.labels.myKey", "metadata.labels.myKey", false, true)
	f("metadata.labels.*", "metadata.labels.*", "metadata.labels.*", true, true)
	f("metadata.labels.`*`", "metadata.labels.`*`", "metadata.labels.`*`", false, true)
	f("metadata.labels.`a`", "metadata.labels.a", "metadata.labels.a", false, true)
	f("metadata.labels.``", "metadata.labels.``", "metadata.labels.``", false, true)
	f("spec.spares.`a.b``c`.note", "spec.spares.`a.b``c`.note", "spec.spares.`a.b``c`.note", false, false)
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		_, err := fieldpath.Parse(robotType, text)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "INVALID_PATH", fault.ReasonOf(err))
		require.ErrorContains(t, err, want)
	}
	f("", "empty")
	f("spec.", "empty")
	f(".spec", "empty")
	f("spec..power", "empty")
	f("speed", `Robot has no field "speed"`)
	f("spec.power.x", "power has no fields")
	f("metadata.labels.a.b", "labels has no fields")
	f("metadata.labels.`a", "not closed")
	f("metadata.labels.`a`b", "after a backtick")
	f("spec.parts.0.serial", `Part has no field "0"`)
	f("a\xff", "UTF-8")
	f(strings.Repeat("a", 1025), "at most 1024 bytes")
}

func TestValues_Table(t *testing.T) {
	t.Parallel()
	m := read(t, `name:"n" metadata{labels{key:"b" value:"2"} labels{key:"a" value:"1"} tags:"x" tags:"x"}
		spec{power:2 parts{serial:"s"} parts{note:"n"} spares{key:"b" value{note:"y"}} spares{key:"a" value{note:"x"}} aliases{network:"l"}}`)
	f := func(path string, has bool, want ...string) {
		t.Helper()
		p := parse(t, path)
		require.Equal(t, want, texts(p.Get(m.ProtoReflect())))
		require.Equal(t, has, p.Has(m.ProtoReflect()))
	}
	f("name", true, "n")
	f("display_name", false, "")
	f("spec.power", true, "2")
	f("spec.armed", false, "false")
	f("spec.uptime_goal", false)
	f("state", false)
	f("state.phase", false)
	f("metadata.tags", true, "x", "x")
	f("metadata.labels", true, "1", "2")
	f("metadata.labels.b", true, "2")
	f("metadata.labels.c", false)
	f("spec.parts.serial", true, "s", "")
	f("spec.parts.*.note", true, "", "n")
	f("spec.parts.count", false, "0", "0")
	f("spec.friends", false)
	f("spec.spares.*.note", true, "x", "y")
	f("spec.spares.a.note", true, "x")
	f("spec.spares.c.note", false)

	values := parse(t, "spec.spares.*.note").Get(m.ProtoReflect())
	require.Equal(t, "a", values[0].Key.String())
	require.Equal(t, "b", values[1].Key.String())
	require.Len(t, fieldpath.Path{}.Get(m.ProtoReflect()), 1)

	n := 0
	parse(t, "metadata.labels").Values(m.ProtoReflect(), func(fieldpath.Value) bool { n++; return false })
	parse(t, "metadata.tags").Values(m.ProtoReflect(), func(fieldpath.Value) bool { n++; return false })
	require.Equal(t, 2, n)
}

func TestDefault_Table(t *testing.T) {
	t.Parallel()
	f := func(path, want string, valid bool) {
		t.Helper()
		v := parse(t, path).Default()
		require.Equal(t, valid, v.IsValid())
		require.Equal(t, want, v.Text())
		require.True(t, v.IsZero())
	}
	f("spec.power", "0", true)
	f("state.phase", "PHASE_UNSPECIFIED", true)
	f("spec.parts.serial", "", true)
	f("spec", "", false)
	f("metadata.tags", "", false)
	f("metadata.labels.a", "", false)
}

func TestIsZero_Table(t *testing.T) {
	t.Parallel()
	f := func(path, m string, want bool) {
		t.Helper()
		require.Equal(t, want, parse(t, path).Get(read(t, m).ProtoReflect())[0].IsZero())
	}
	f("spec", `spec{}`, true)
	f("spec", `spec{power:1}`, false)
	f("spec.power", `spec{}`, true)
	f("spec.power", `spec{power:-0}`, true)
	f("state.phase", `state{phase:IDLE}`, false)
	f("metadata.labels", `metadata{labels{key:"a" value:""}}`, true)
}

func TestSet_Table(t *testing.T) {
	t.Parallel()
	f := func(path, before string, v protoreflect.Value, after string) {
		t.Helper()
		m := read(t, before)
		require.NoError(t, parse(t, path).Set(m.ProtoReflect(), v))
		require.True(t, proto.Equal(read(t, after), m), "%v", m)
	}
	text := protoreflect.ValueOfString
	f("name", ``, text("n"), `name:"n"`)
	f("spec.power", ``, protoreflect.ValueOfFloat64(1), `spec{power:1}`)
	f("spec.power", `spec{armed:true}`, protoreflect.ValueOfFloat64(1), `spec{power:1 armed:true}`)
	f("state.phase", ``, protoreflect.ValueOfEnum(2), `state{phase:BUSY}`)
	f("metadata.labels.`a.b`", ``, text("v"), `metadata{labels{key:"a.b" value:"v"}}`)
	f("spec.spares.a.note", `spec{spares{key:"a" value{serial:"s"}}}`, text("n"), `spec{spares{key:"a" value{serial:"s" note:"n"}}}`)
	f("spec.spares.b.note", ``, text("n"), `spec{spares{key:"b" value{note:"n"}}}`)
	f("spec.spares.b", ``, protoreflect.ValueOfMessage((&samplev1.Part{Note: "n"}).ProtoReflect()), `spec{spares{key:"b" value{note:"n"}}}`)
	from := read(t, `spec{friends:"a" friends:"b" spares{key:"a" value{}}}`).GetSpec().ProtoReflect()
	fields := from.Descriptor().Fields()
	f("spec.friends", `spec{friends:"x"}`, from.Get(fields.ByName("friends")), `spec{friends:"a" friends:"b"}`)
	f("spec.spares", ``, from.Get(fields.ByName("spares")), `spec{spares{key:"a" value{}}}`)
	// What is not there clears.
	f("spec.parts", `spec{parts{}}`, from.Get(fields.ByName("parts")), `spec{}`)
	f("spec.uptime_goal", `spec{uptime_goal{}}`, from.Get(fields.ByName("uptime_goal")), `spec{}`)
	f("spec.power", `spec{power:1}`, protoreflect.Value{}, `spec{}`)
	f("spec.power", ``, protoreflect.Value{}, ``)
}

func TestSet_Refuses(t *testing.T) {
	t.Parallel()
	f := func(p fieldpath.Path, v protoreflect.Value, want string) {
		t.Helper()
		m := read(t, `spec{parts{}}`)
		err := p.Set(m.ProtoReflect(), v)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.ErrorContains(t, err, want)
		require.True(t, proto.Equal(read(t, `spec{parts{}}`), m))
	}
	text := protoreflect.ValueOfString("s")
	f(fieldpath.Path{}, text, "names no field")
	f(parse(t, "spec.parts.serial"), text, "spec.parts has many values")
	f(parse(t, "metadata.labels.*"), text, "metadata.labels has many values")
	f(parse(t, "spec.spares.*.note"), protoreflect.Value{}, "spec.spares has many values")
	f(parse(t, "spec.power"), text, "string is not what selvedge.sample.v1.RobotSpec.power has")
	f(parse(t, "spec.power"), protoreflect.ValueOfFloat32(1), "float32 is not")
	f(parse(t, "spec.friends"), text, "string is not")
	f(parse(t, "metadata.labels"), text, "string is not")
	f(parse(t, "spec"), protoreflect.ValueOfMessage((&samplev1.Part{}).ProtoReflect()), "is not what")
	f(parse(t, "spec.parts"), protoreflect.ValueOfMessage((&samplev1.Part{}).ProtoReflect()), "is not what")
	f(parse(t, "spec.spares"), protoreflect.ValueOfMessage((&samplev1.Part{}).ProtoReflect()), "is not what")
	f(parse(t, "metadata.labels.a"), protoreflect.ValueOfInt64(1), "int64 is not")
}

func TestClear_Table(t *testing.T) {
	t.Parallel()
	f := func(path, before, after string) {
		t.Helper()
		m := read(t, before)
		parse(t, path).Clear(m.ProtoReflect())
		require.True(t, proto.Equal(read(t, after), m), "%v", m)
		require.False(t, parse(t, path).Has(m.ProtoReflect()))
	}
	f("spec.power", `spec{power:1 armed:true}`, `spec{armed:true}`)
	f("spec.power", ``, ``)
	f("spec", `name:"n" spec{power:1}`, `name:"n"`)
	f("metadata.labels.a", `metadata{labels{key:"a" value:"1"} labels{key:"b" value:"2"}}`, `metadata{labels{key:"b" value:"2"}}`)
	f("metadata.labels.*", `metadata{labels{key:"a" value:"1"}}`, `metadata{}`)
	f("spec.parts.serial", `spec{parts{serial:"a" count:1} parts{serial:"b"}}`, `spec{parts{count:1} parts{}}`)
	f("spec.parts.*", `spec{parts{}}`, `spec{}`)
	f("spec.spares.*.note", `spec{spares{key:"a" value{note:"n" count:1}}}`, `spec{spares{key:"a" value{count:1}}}`)
	f("spec.spares.a.note", `spec{spares{key:"a" value{note:"n"}} spares{key:"b" value{note:"n"}}}`, `spec{spares{key:"a" value{}} spares{key:"b" value{note:"n"}}}`)

	m := read(t, `name:"n" spec{}`)
	fieldpath.Path{}.Clear(m.ProtoReflect())
	require.True(t, proto.Equal(&samplev1.Robot{}, m))
}

func TestCovers_Table(t *testing.T) {
	t.Parallel()
	f := func(a, b string, want bool) {
		t.Helper()
		require.Equal(t, want, fieldpath.Covers(parse(t, a), parse(t, b)))
	}
	f("spec", "spec", true)
	f("spec", "spec.power", true)
	f("spec.power", "spec", false)
	f("spec.power", "spec.color", false)
	f("spec.parts", "spec.parts.serial", true)
	f("spec.parts.*", "spec.parts", true)
	f("metadata.labels", "metadata.labels.a", true)
	f("metadata.labels.*", "metadata.labels.a", true)
	f("metadata.labels.a", "metadata.labels.*", false)
	f("metadata.labels.a", "metadata.labels.b", false)
	f("metadata.labels.a", "metadata.labels", false)
	f("spec.spares.*.note", "spec.spares.a.note", true)
	f("spec.spares.a.note", "spec.spares.*.note", false)
	require.True(t, fieldpath.Covers(fieldpath.Path{}, parse(t, "spec")))
	require.False(t, fieldpath.Covers(parse(t, "spec"), fieldpath.Path{}))
}

func TestTerminals_Table(t *testing.T) {
	t.Parallel()
	f := func(m string, want ...string) {
		t.Helper()
		var got []string
		for _, p := range fieldpath.Terminals(read(t, m).ProtoReflect()) {
			require.True(t, p.Has(read(t, m).ProtoReflect()))
			got = append(got, p.String())
		}
		require.Equal(t, want, got)
	}
	f(``)
	f(`spec{}`, "spec")
	f(`name:"n" spec{power:1 parts{} uptime_goal{} settings{fields{key:"a"}}} state{phase:BUSY}`,
		"name", "spec.power", "spec.uptime_goal", "spec.parts", "spec.settings", "state.phase")
	f(`metadata{labels{key:"b" value:""} labels{key:"a.b" value:"1"}} spec{spares{key:"a" value{note:"n"}} spares{key:"b" value{}}}`,
		"metadata.labels.`a.b`", "metadata.labels.b", "spec.spares.a.note", "spec.spares.b")
}

func TestCompare_Table(t *testing.T) {
	t.Parallel()
	f := func(path, a, b string, want int) {
		t.Helper()
		p, x, y := parse(t, path), read(t, a).ProtoReflect(), read(t, b).ProtoReflect()
		require.Equal(t, want, p.Compare(x, y))
		require.Equal(t, -want, p.Compare(y, x))
		require.Equal(t, want == 0, p.Equal(x, y))
	}
	f("name", `name:"a"`, `name:"b"`, -1)
	f("name", `name:"a" spec{}`, `name:"a"`, 0)
	f("spec.power", `spec{power:-1}`, `spec{power:1}`, -1)
	f("spec.power", `spec{power:inf}`, `spec{power:nan}`, -1)
	f("spec.power", `spec{power:nan}`, `spec{power:nan}`, 0)
	f("spec.power", ``, `spec{power:-1}`, -1)
	f("state.seen_time", `state{}`, `state{seen_time{seconds:-9}}`, -1)
	f("state.seen_time", `state{seen_time{seconds:1 nanos:2}}`, `state{seen_time{seconds:1 nanos:3}}`, -1)
	f("metadata.tags", `metadata{tags:"a"}`, `metadata{tags:"a" tags:"a"}`, -1)
	f("metadata.labels", `metadata{labels{key:"a" value:"2"}}`, `metadata{labels{key:"b" value:"1"}}`, -1)
	f("spec.parts", `spec{parts{serial:"a" count:2}}`, `spec{parts{serial:"a" count:10}}`, -1)
	f("spec", `spec{friends:"a"}`, `spec{friends:"a" friends:"b"}`, -1)
	f("spec.spares.*.note", `spec{spares{key:"a" value{note:"z"}}}`, `spec{spares{key:"b" value{note:"a"}}}`, -1)
}

// A path is of any type, and its maps have keys of any kind.
func TestParse_RecursiveType(t *testing.T) {
	t.Parallel()
	v, err := structpb.NewStruct(map[string]any{"a": []any{1.0, map[string]any{"b": true}}})
	require.NoError(t, err)
	p, err := fieldpath.Parse(v.ProtoReflect().Descriptor(), "fields.a.listValue.values.structValue.fields.b.boolValue")
	require.NoError(t, err)
	require.Equal(t, "fields.a.list_value.values.*.struct_value.fields.b.bool_value", p.String())
	require.Equal(t, []string{"true"}, texts(p.Get(v.ProtoReflect())))
	require.Equal(t, 0, p.Compare(v.ProtoReflect(), v.ProtoReflect()))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"name", "spec.parts.serial", "metadata.labels.`a``.*`", "spec.spares.*.note", "metadata.shards.x", "spec.settings.fields.a.list_value.values.*", "``", "."} {
		f.Add(s)
	}
	m := read(f, `name:"n" metadata{labels{key:"a" value:"1"}} spec{parts{} spares{key:"a" value{}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := fieldpath.Parse(robotType, s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		for _, text := range []string{p.String(), p.JSON()} {
			again := parse(t, text)
			require.Equal(t, p.String(), again.String())
			require.True(t, fieldpath.Covers(p, again) && fieldpath.Covers(again, p))
		}
		p.Get(m.ProtoReflect())
		c := proto.CloneOf(m)
		p.Clear(c.ProtoReflect())
		require.False(t, p.Has(c.ProtoReflect()))
	})
}
