package fieldmask_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// read is the robot of a text.
func read(t *testing.T, text string) *samplev1.Robot {
	t.Helper()
	m := &samplev1.Robot{}
	require.NoError(t, prototext.Unmarshal([]byte(text), m))
	return m
}

// parse is the mask of a text; "none" is no mask.
func parse(t *testing.T, text string) fieldmask.Mask {
	t.Helper()
	if text == "none" {
		return fieldmask.Mask{}
	}
	k, err := fieldmask.ParseText(robotType, text)
	require.NoError(t, err)
	return k
}

// same requires that a robot is that of a text.
func same(t *testing.T, want string, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(read(t, want), got), "want %s\ngot  %v", want, got)
}

func TestParse_Texts(t *testing.T) {
	t.Parallel()
	f := func(want string, paths ...string) {
		t.Helper()
		k, err := fieldmask.Parse(robotType, &fieldmaskpb.FieldMask{Paths: paths})
		require.NoError(t, err)
		require.Equal(t, want, k.String())
		require.Equal(t, k.Proto(), parse(t, want).Proto())
	}
	f("")
	f("name", "name", "name")
	f("display_name,spec.power", "spec.power", "displayName")
	f("spec.uptime_goal", "spec.uptimeGoal")
	f("spec", "spec.power", "spec", "spec.color")
	f("*", "spec", "*")
	f("spec.parts.*.serial", "spec.parts.serial")
	f("spec.parts", "spec.parts.*")
	f("metadata.labels", "metadata.labels.*")
	f("metadata.labels.`a.b`,metadata.labels.`c,d`,metadata.labels.myKey", "metadata.labels.myKey", "metadata.labels.`a.b`", "metadata.labels.`c,d`")
	f("metadata.labels", "metadata.labels.a", "metadata.labels", "metadata.labels.b")
	f("spec.spares.*.serial,spec.spares.a", "spec.spares.*.serial", "spec.spares.a.serial", "spec.spares.a")
	f("spec.spares.*.serial,spec.spares.a.note", "spec.spares.a.serial", "spec.spares.a.note", "spec.spares.*.serial")
	f("metadata.shards.x", "metadata.shards.`x`")
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	f := func(name, want string, paths ...string) {
		t.Helper()
		_, err := fieldmask.Parse(robotType, &fieldmaskpb.FieldMask{Paths: append([]string{"name"}, paths...)})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "INVALID_MASK", fault.ReasonOf(err))
		var wrong *fault.Error
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, name, wrong.Name)
		require.Contains(t, wrong.Message(), want)
	}
	f("spec.speed", `"spec.speed": RobotSpec has no field "speed"`, "spec.speed")
	f("", "empty", "")
	f("spec.power.x", "power has no fields", "spec.power.x")
	f("spec.*", `no field "*"`, "spec.*")
	f("metadata.labels.`a", "not closed", "metadata.labels.`a")
	f("spec.parts.0", `no field "0"`, "spec.parts.0")
	f("", "at most 1000 paths", make([]string, 1000)...)
	f("a�", "UTF-8", "a\xff")
	f("", "65536 bytes", slices.Repeat([]string{"metadata.labels." + strings.Repeat("a", 900)}, 75)...)
}

// No mask and an empty one, for reading and for updates. SPEC B23.
func TestMask_NoneAndEmpty(t *testing.T) {
	t.Parallel()
	none, err := fieldmask.Parse(robotType, nil)
	require.NoError(t, err)
	empty, err := fieldmask.Parse(robotType, &fieldmaskpb.FieldMask{})
	require.NoError(t, err)
	all := fieldmask.All(robotType)

	require.True(t, none.IsZero() && !none.IsEmpty() && none.IsFull())
	require.True(t, !empty.IsZero() && empty.IsEmpty() && !empty.IsFull())
	require.True(t, !all.IsZero() && !all.IsEmpty() && all.IsFull())
	require.True(t, fieldmask.Full(robotType).IsFull())
	require.Nil(t, none.Proto())
	require.NotNil(t, empty.Proto())
	require.Equal(t, []string{"*"}, all.Proto().GetPaths())
	require.Empty(t, none.Paths())
	require.True(t, none.Covers(all) && all.Covers(none) && !empty.Covers(none))

	power := parse(t, "spec.power")
	require.True(t, fieldmask.Union(none, power).IsZero() && fieldmask.Union(power, none).IsZero())
	require.Equal(t, "spec.power", fieldmask.Intersect(none, power).String())
	require.Equal(t, "spec.power", fieldmask.Intersect(power, none).String())
	require.True(t, fieldmask.Subtract(power, none).IsEmpty())
	require.True(t, fieldmask.Subtract(none, none).IsEmpty())
	require.Equal(t, "display_name,metadata,spec,state", fieldmask.Subtract(none, parse(t, "name")).String())
}

func TestProject_Table(t *testing.T) {
	t.Parallel()
	m := read(t, `name:"n" metadata{labels{key:"a" value:"1"} labels{key:"b.c" value:"2"} tags:"t"}
		spec{power:2 color:"red" parts{serial:"s" count:1} parts{note:"n"} spares{key:"a" value{serial:"x" note:"y"}} spares{key:"b" value{serial:"z" note:"v"}}} state{}`)
	f := func(mask, want string) {
		t.Helper()
		same(t, want, fieldmask.Project(parse(t, mask), m))
	}
	f("", ``)
	f("name,spec.power", `name:"n" spec{power:2}`)
	f("spec.armed", `spec{}`)
	f("state", `state{}`)
	f("state.phase,display_name", `state{}`)
	f("metadata.labels.a", `metadata{labels{key:"a" value:"1"}}`)
	f("metadata.labels.`b.c`,metadata.labels.x,metadata.tags", `metadata{labels{key:"b.c" value:"2"} tags:"t"}`)
	f("spec.parts.serial", `spec{parts{serial:"s"} parts{}}`)
	f("spec.spares.*.serial,spec.spares.a.note", `spec{spares{key:"a" value{serial:"x" note:"y"}} spares{key:"b" value{serial:"z"}}}`)
	f("spec.spares.*.serial,spec.spares.a", `spec{spares{key:"a" value{serial:"x" note:"y"}} spares{key:"b" value{serial:"z"}}}`)
	for _, everything := range []string{"none", "*"} {
		require.True(t, proto.Equal(m, fieldmask.Project(parse(t, everything), m)))
	}
}

// What is selected is shared and what is on the way is not.
func TestProject_Aliases(t *testing.T) {
	t.Parallel()
	m := read(t, `spec{power:2 spares{key:"a" value{serial:"x"}} uptime_goal{seconds:1}}`)
	p := fieldmask.Project(parse(t, "spec.power,spec.uptime_goal,spec.spares.a.serial"), m)
	require.Same(t, m.GetSpec().GetUptimeGoal(), p.GetSpec().GetUptimeGoal())
	p.Spec.Power, p.Spec.Spares["a"].Serial, p.Spec.Spares["b"] = 3, "y", nil
	same(t, `spec{power:2 spares{key:"a" value{serial:"x"}} uptime_goal{seconds:1}}`, m)

	require.NotNil(t, fieldmask.Project[proto.Message](fieldmask.Mask{}, m))
	require.Empty(t, fieldmask.Project(parse(t, "spec"), (*samplev1.Robot)(nil)).String())
}

// google.aip.dev/134 and 161, and the questions that they leave open.
func TestMerge_Table(t *testing.T) {
	t.Parallel()
	f := func(mask, dst, src, want string) {
		t.Helper()
		to, from := read(t, dst), read(t, src)
		require.NoError(t, fieldmask.Merge(parse(t, mask), to, from))
		same(t, want, to)
		same(t, src, from)
	}
	// No mask: what is populated. The empty mask: nothing.
	f("none", `name:"a" spec{power:1 color:"red"}`, `name:"b" spec{power:2}`, `name:"b" spec{power:2 color:"red"}`)
	f("none", `spec{power:1}`, `spec{}`, `spec{power:1}`)
	f("none", `spec{friends:"a" uptime_goal{nanos:1}}`, `spec{friends:"b" uptime_goal{seconds:1}}`, `spec{friends:"b" uptime_goal{seconds:1}}`)
	f("none", `metadata{labels{key:"a" value:"1"}}`, `metadata{labels{key:"b" value:"2"}}`, `metadata{labels{key:"b" value:"2"}}`)
	f("", `name:"a"`, `name:"b" spec{}`, `name:"a"`)
	// "*": a full replacement.
	f("*", `name:"a" spec{power:1}`, `display_name:"d"`, `display_name:"d"`)
	// A path: set, or cleared if the source has it not.
	f("spec.power,spec.color", `spec{power:1 color:"red" armed:true}`, `spec{power:2}`, `spec{power:2 armed:true}`)
	f("spec", `name:"a" spec{power:1}`, ``, `name:"a"`)
	f("spec.power", `spec{power:1 armed:true}`, ``, `spec{armed:true}`)
	f("spec.power", ``, ``, ``)
	f("state.phase", ``, `state{}`, `state{}`)
	// Lists are replaced.
	f("spec.friends", `spec{friends:"a"}`, `spec{friends:"b" friends:"c"}`, `spec{friends:"b" friends:"c"}`)
	f("spec.parts", `spec{parts{serial:"a"}}`, ``, `spec{}`)
	// Maps as a whole, or by key.
	f("metadata.labels", `metadata{labels{key:"a" value:"1"}}`, `metadata{labels{key:"b" value:"2"}}`, `metadata{labels{key:"b" value:"2"}}`)
	f("metadata.labels.a,metadata.labels.b", `metadata{labels{key:"a" value:"1"} labels{key:"c" value:"3"}}`, `metadata{labels{key:"b" value:"2"} labels{key:"x" value:"9"}}`, `metadata{labels{key:"b" value:"2"} labels{key:"c" value:"3"}}`)
	f("metadata.labels.a", `metadata{labels{key:"a" value:"1"}}`, ``, `metadata{}`)
	f("metadata.labels.a", ``, `metadata{labels{key:"b" value:"2"}}`, `metadata{}`)
	f("spec.spares.a.note", `spec{spares{key:"a" value{serial:"s" note:"n"}}}`, `spec{spares{key:"a" value{serial:"t" note:"m"}}}`, `spec{spares{key:"a" value{serial:"s" note:"m"}}}`)
	f("spec.spares.a.note", `spec{spares{key:"a" value{serial:"s" note:"n"}}}`, ``, `spec{spares{key:"a" value{serial:"s"}}}`)
	f("spec.spares.a.note", ``, `spec{spares{key:"a" value{note:"m"}}}`, `spec{spares{key:"a" value{note:"m"}}}`)
	f("spec.spares.*", `spec{spares{key:"a" value{}}}`, `spec{spares{key:"b" value{}}}`, `spec{spares{key:"b" value{}}}`)
	// One of a oneof takes the place of the other.
	f("spec.settings.fields.a.string_value", `spec{settings{fields{key:"a" value{number_value:1}}}}`, `spec{settings{fields{key:"a" value{string_value:"s"}}}}`, `spec{settings{fields{key:"a" value{string_value:"s"}}}}`)
}

func TestMerge_RefusesStars(t *testing.T) {
	t.Parallel()
	f := func(mask, want string) {
		t.Helper()
		dst := read(t, `name:"a"`)
		err := fieldmask.Merge(parse(t, "name,"+mask), dst, read(t, `name:"b"`))
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "INVALID_UPDATE_MASK", fault.ReasonOf(err))
		require.ErrorContains(t, err, want)
		require.Equal(t, err, fieldmask.Copy(parse(t, "name,"+mask), dst, read(t, `name:"b"`)))
		same(t, `name:"a"`, dst)
	}
	f("spec.parts.serial", `"spec.parts.*.serial" goes through many values: update spec.parts as a whole`)
	f("spec.spares.*.note", `update spec.spares as a whole, or its values by their keys`)
	f("spec.settings.fields.a.list_value.values.*.bool_value", "update spec.settings.fields.a.list_value.values as a whole")
	require.NoError(t, fieldmask.Mask{}.CheckUpdate())
	require.NoError(t, parse(t, "*").CheckUpdate())
}

func TestMerge_SharesNothing(t *testing.T) {
	t.Parallel()
	const text = `metadata{labels{key:"a" value:"1"} tags:"t"} spec{parts{serial:"s"} spares{key:"a" value{serial:"x"}} uptime_goal{seconds:1}}`
	for _, mask := range []string{"none", "*", "spec,metadata", "spec.parts,spec.spares,spec.uptime_goal,metadata.tags,metadata.labels", "spec.spares.a"} {
		dst, src := read(t, `spec{spares{key:"b" value{}}}`), read(t, text)
		require.NoError(t, fieldmask.Merge(parse(t, mask), dst, src))
		for _, p := range fieldpath.Terminals(dst.ProtoReflect()) {
			p.Clear(dst.ProtoReflect())
		}
		dst.Spec.Spares["a"].Note = "changed"
		same(t, text, src)
	}
}

func TestMerge_WrongTypePanics(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "BUG: fieldmask: a mask of selvedge.sample.v1.Robot for a selvedge.sample.v1.Model", func() {
		fieldmask.Project(parse(t, "name"), &samplev1.Model{})
	})
}

func TestCopy_Table(t *testing.T) {
	t.Parallel()
	f := func(mask, dst, src, want string) {
		t.Helper()
		to := read(t, dst)
		require.NoError(t, fieldmask.Copy(parse(t, mask), to, read(t, src)))
		same(t, want, to)
	}
	f("spec.power,spec.color", `spec{power:1 color:"red"}`, `spec{power:2}`, `spec{power:2 color:"red"}`)
	f("metadata.labels.a,metadata.labels.b", `metadata{labels{key:"a" value:"1"}}`, `metadata{labels{key:"b" value:"2"}}`, `metadata{labels{key:"a" value:"1"} labels{key:"b" value:"2"}}`)
	f("*", `name:"a" spec{power:1}`, `spec{color:"red"}`, `name:"a" spec{power:1 color:"red"}`)
	f("name", `spec{}`, `spec{power:1}`, `spec{}`)
}

func TestDiff_Table(t *testing.T) {
	t.Parallel()
	f := func(a, b, want string) {
		t.Helper()
		require.Equal(t, want, fieldmask.Diff(read(t, a), read(t, b)).String())
	}
	f(`name:"a"`, `name:"a"`, "")
	f(`name:"a"`, `name:"b"`, "name")
	f(`spec{power:1}`, `spec{power:2 color:"red"}`, "spec.color,spec.power")
	f(`spec{power:nan}`, `spec{power:nan}`, "")
	f(`spec{power:-0}`, `spec{}`, "spec.power")
	f(`spec{power:1}`, ``, "spec")
	f(`spec{}`, ``, "spec")
	f(`metadata{labels{key:"a" value:"1"} labels{key:"b.c" value:"1"}}`, `metadata{labels{key:"a" value:"2"}}`, "metadata.labels.`b.c`,metadata.labels.a")
	f(`spec{parts{serial:"a"} parts{}}`, `spec{parts{serial:"b"} parts{}}`, "spec.parts")
	f(`spec{spares{key:"a" value{note:"1"}}}`, `spec{spares{key:"a" value{note:"2"}} spares{key:"b" value{}}}`, "spec.spares.a.note,spec.spares.b")
	f(`spec{uptime_goal{seconds:1}}`, `spec{uptime_goal{seconds:2}}`, "spec.uptime_goal")
	f(`spec{settings{fields{key:"a"}}}`, `spec{settings{fields{key:"b"}}}`, "spec.settings")

	a, b := read(t, `spec{power:1}`), read(t, `spec{power:1}`)
	b.Spec.ProtoReflect().SetUnknown(protoreflect.RawFields("\x98\x06\x01"))
	require.Equal(t, "spec", fieldmask.Diff(a, b).String())
	require.NoError(t, fieldmask.Merge(fieldmask.Diff(a, b), a, b))
	require.True(t, proto.Equal(a, b))
	b.ProtoReflect().SetUnknown(protoreflect.RawFields("\x98\x06\x01"))
	require.Equal(t, "*", fieldmask.Diff(a, b).String())
}

func TestImplied_Table(t *testing.T) {
	t.Parallel()
	f := func(m, want string) {
		t.Helper()
		require.Equal(t, want, fieldmask.Implied(read(t, m)).String())
	}
	f(``, "")
	f(`name:"a" spec{power:1 friends:"x" uptime_goal{}} state{}`, "name,spec.friends,spec.power,spec.uptime_goal")
	f(`metadata{labels{key:"a" value:"1"}}`, "metadata.labels")

	k := fieldmask.Implied(structpb.NewStructValue(&structpb.Struct{}))
	require.Equal(t, "struct_value", k.String())
}

func TestSubtract_Table(t *testing.T) {
	t.Parallel()
	f := func(a, b, want string) {
		t.Helper()
		require.Equal(t, want, fieldmask.Subtract(parse(t, a), parse(t, b)).String())
	}
	f("name,spec.power", "spec", "name")
	f("state", "state.token", "state.battery,state.phase,state.seen_time")
	f("spec.parts", "spec.parts.note", "spec.parts.*.count,spec.parts.*.serial")
	f("metadata.labels.a,metadata.labels.b", "metadata.labels.a", "metadata.labels.b")
	// A map without a key has no paths: nothing of it is left.
	f("name,metadata.labels", "metadata.labels.a", "name")
	f("spec.spares", "spec.spares.a.note", "spec.spares.*.count,spec.spares.*.serial")
	f("spec.spares.a", "spec.spares.*.note", "spec.spares.a.count,spec.spares.a.serial")
	f("*", "name,metadata,spec,state.token", "display_name,state.battery,state.phase,state.seen_time")
}

func TestRedact_OnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	var secrets []fieldpath.Path
	for _, s := range []string{"spec.pin", "state.token", "spec.spares.*.note", "spec.parts.serial"} {
		p, err := fieldpath.Parse(robotType, s)
		require.NoError(t, err)
		secrets = append(secrets, p)
	}
	m := read(t, `name:"a" spec{power:1 parts{count:1} spares{key:"a" value{}}}`)
	require.Same(t, m, fieldmask.Redact(m, secrets))
	m = read(t, `name:"a" spec{power:1 pin:"1" parts{serial:"s" count:1} spares{key:"a" value{note:"n"}}}`)
	before := proto.CloneOf(m)
	same(t, `name:"a" spec{power:1 parts{count:1} spares{key:"a" value{}}}`, fieldmask.Redact(m, secrets))
	require.True(t, proto.Equal(before, m))
}

// A caller's mask of the largest size takes little time, whatever its shape.
func TestParse_WorstCase(t *testing.T) {
	t.Parallel()
	f := func(paths, depth int) {
		t.Helper()
		var fm fieldmaskpb.FieldMask
		m := &samplev1.Robot{Spec: &samplev1.RobotSpec{Settings: &structpb.Struct{}}}
		at := m.Spec.Settings
		for i := range paths {
			var b strings.Builder
			b.WriteString("spec.settings.fields")
			for d := range depth {
				b.WriteString([]string{".a", ".*"}[i>>(d%10)&1] + ".struct_value.fields")
			}
			fm.Paths = append(fm.Paths, b.String()+fmt.Sprintf(".k%d", i))
		}
		for range depth {
			in := &structpb.Struct{}
			at.Fields = map[string]*structpb.Value{"a": structpb.NewStructValue(in), "b": structpb.NewStructValue(in)}
			at = in
		}
		k, err := fieldmask.Parse(robotType, &fm)
		require.NoError(t, err)
		require.Len(t, k.Paths(), paths)
		require.True(t, k.Covers(k))
		require.True(t, fieldmask.Subtract(k, k).IsEmpty())
		require.True(t, k.Covers(fieldmask.Union(k, k)))
		fieldmask.Intersect(k, k)
		if depth < 10 { // else the message itself is too large
			fieldmask.Project(k, m)
		}
	}
	f(1000, 1)
	f(600, 3)
	f(190, 8)
	f(80, 30)
}

func FuzzParseText(f *testing.F) {
	for _, s := range []string{"", "*", "name,spec.power", "metadata.labels.`a,b``.c`", "spec.parts.serial", "spec.spares.*.note,spec.spares.a", "spec.settings.fields.*.list_value.values.*", ",", "`"} {
		f.Add(s)
	}
	m := &samplev1.Robot{Name: "n", Spec: &samplev1.RobotSpec{Power: 1, Parts: []*samplev1.Part{{Serial: "s"}}, Spares: map[string]*samplev1.Part{"a": {Note: "n"}}}}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := fieldmask.ParseText(robotType, s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		again, err := fieldmask.ParseText(robotType, k.String())
		require.NoError(t, err)
		require.Equal(t, k.String(), again.String())
		require.True(t, k.Covers(again) && again.Covers(k))
		p := fieldmask.Project(k, m)
		if k.CheckUpdate() == nil {
			require.NoError(t, fieldmask.Merge(k, p, m))
			require.True(t, proto.Equal(p, fieldmask.Project(k, m)))
		}
	})
}
