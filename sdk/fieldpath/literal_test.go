package fieldpath_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
)

func TestParseValue_Texts(t *testing.T) {
	t.Parallel()
	f := func(path, text, want string) {
		t.Helper()
		v, err := parse(t, path).ParseValue(text)
		require.NoError(t, err)
		require.Equal(t, want, v.Text())
		again, err := parse(t, path).ParseValue(want)
		require.NoError(t, err)
		require.True(t, v.Equal(again.Value))
	}
	f("name", "a b", "a b")
	f("spec.armed", "true", "true")
	f("spec.power", "1e3", "1000")
	f("spec.power", "-inf", "-Infinity")
	f("spec.power", "NaN", "NaN")
	f("spec.parts.count", "-7", "-7")
	f("metadata.generation", "9223372036854775807", "9223372036854775807")
	f("metadata.shards.x", "7", "7")
	f("metadata.labels", "v", "v")
	f("state.phase", "BUSY", "BUSY")
	f("state.phase", "2", "BUSY")
	f("state.phase", "77", "77")
	f("state.seen_time", "2026-08-01T12:00:00.5+02:00", "2026-08-01T10:00:00.500Z")
	f("spec.uptime_goal", "1.5s", "1.500s")
	f("spec.uptime_goal", "1h30m", "5400s")
	f("spec.uptime_goal", "-0.1s", "-0.100s")
	f("spec.uptime_goal", "315576000000s", "315576000000s")
}

// Kinds that the sample has not, by the wrappers of them.
func TestParseValue_Wrappers(t *testing.T) {
	t.Parallel()
	f := func(m proto.Message, text, want string) {
		t.Helper()
		p, err := fieldpath.Parse(m.ProtoReflect().Descriptor(), "value")
		require.NoError(t, err)
		v, err := p.ParseValue(text)
		require.NoError(t, err)
		require.Equal(t, want, v.Text())
		require.NoError(t, p.Set(m.ProtoReflect(), v.Value))
		require.Equal(t, want, fieldpath.Value{Value: protoreflect.ValueOfMessage(m.ProtoReflect())}.Text())
	}
	f(&wrapperspb.BytesValue{}, "AP+/", "AP+/")
	f(&wrapperspb.BytesValue{}, "AP-_", "AP+/")
	f(&wrapperspb.BytesValue{}, "AA", "AA==")
	f(&wrapperspb.UInt32Value{}, "4294967295", "4294967295")
	f(&wrapperspb.UInt64Value{}, "18446744073709551615", "18446744073709551615")
	f(&wrapperspb.FloatValue{}, "0.1", "0.1")
	f(&wrapperspb.Int32Value{}, "1", "1")
}

func TestParseValue_Refuses(t *testing.T) {
	t.Parallel()
	f := func(path, text, want string) {
		t.Helper()
		_, err := parse(t, path).ParseValue(text)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, "INVALID_VALUE", fault.ReasonOf(err))
		var wrong *fault.Error
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, parse(t, path).String(), wrong.Field)
		require.ErrorContains(t, err, want)
	}
	f("name", "\xff", "UTF-8")
	f("spec.armed", "yes", `"yes" is neither true nor false`)
	f("spec.power", "much", `"much" is no double`)
	f("spec.power", "1e999", "is no double")
	f("spec.parts.count", "2147483648", "is no int32")
	f("metadata.generation", "1.5", "is no int64")
	f("state.phase", "ASLEEP", `Phase has no value "ASLEEP"`)
	f("state.seen_time", "yesterday", "is no time")
	f("state.seen_time", "10000-01-01T00:00:00Z", "is no time")
	f("spec.uptime_goal", "1 week", "is no duration")
	f("spec.uptime_goal", "315576000001s", "is no duration")
	f("spec", "{}", "RobotSpec has no text")
	f("spec.settings", "{}", "Struct has no text")
	_, err := fieldpath.Path{}.ParseValue("x")
	require.ErrorContains(t, err, "names no field")
}

func TestText_OfMessages(t *testing.T) {
	t.Parallel()
	f := func(m proto.Message, want string) {
		t.Helper()
		require.Equal(t, want, fieldpath.Value{Value: protoreflect.ValueOfMessage(m.ProtoReflect())}.Text())
	}
	f(structpb.NewBoolValue(true), "true")
	f(wrapperspb.String(`a"b"`), `a"b"`)
	require.Empty(t, fieldpath.Value{}.Text())
	require.NotEmpty(t, fieldpath.Value{Value: protoreflect.ValueOfMessage((&timestamppb.Timestamp{Nanos: -1}).ProtoReflect())}.Text())
}

// Setting a value and getting it gives it back, and its text means it.
func TestSetGet_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.IntRange(0, 8).Draw(t, "kind")
		one := draw(t, kind)
		if one.by == nil {
			t.Skip("unset")
		}
		md := one.value.Desc.ContainingMessage()
		p := fieldpath.Path{}.Append(fieldpath.Step{Field: one.value.Desc})
		m := newOf(md)
		require.NoError(t, p.Set(m, one.value.Value))
		got := p.Get(m)
		require.Len(t, got, 1)
		require.True(t, got[0].Equal(one.value.Value))
		again, err := p.ParseValue(got[0].Text())
		require.NoError(t, err)
		require.True(t, again.Equal(one.value.Value), got[0].Text())
		p.Clear(m)
		require.False(t, p.Has(m))
	})
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"", "1.5s", "2026-08-01T10:00:00Z", "BUSY", "-1", "true", "\"", "1h", "9999999999999s"} {
		f.Add(s)
	}
	var paths []fieldpath.Path
	for _, s := range []string{"name", "spec.armed", "spec.power", "metadata.generation", "state.phase", "state.seen_time", "spec.uptime_goal", "spec.settings"} {
		paths = append(paths, parse(f, s))
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range paths {
			v, err := p.ParseValue(s)
			if err != nil {
				require.Equal(t, fault.Invalid, fault.KindOf(err))
				continue
			}
			again, err := p.ParseValue(v.Text())
			require.NoError(t, err)
			require.True(t, v.Equal(again.Value), "%q became %q", s, v.Text())
		}
	})
}
