package fieldpath_test

import (
	"bytes"
	"cmp"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fieldpath"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// only is the one value of the field with that number of a message.
func only(m proto.Message, n protoreflect.FieldNumber) fieldpath.Value {
	f := m.ProtoReflect().Descriptor().Fields().ByNumber(n)
	return fieldpath.Value{Value: m.ProtoReflect().Get(f), Desc: f}
}

// sorts is a value and what Go compares it by.
type sorts struct {
	value fieldpath.Value
	// by is what it is compared by with those of its type.
	by any
}

// compare is the order of values, written without their keys.
func compare(a, b any) int {
	switch x := a.(type) {
	case nil:
		return -1
	case bool:
		if x == b {
			return 0
		} else if x {
			return 1
		}
		return -1
	case int64:
		return cmp.Compare(x, b.(int64))
	case uint64:
		return cmp.Compare(x, b.(uint64))
	case float64:
		y := b.(float64)
		if x != x || y != y { // NaN is last, where cmp has it first
			return -cmp.Compare(x, y)
		}
		return cmp.Compare(x, y)
	case string:
		return cmp.Compare(x, b.(string))
	case []byte:
		return bytes.Compare(x, b.([]byte))
	case time.Time:
		return x.Compare(b.(time.Time))
	case time.Duration:
		return cmp.Compare(x, b.(time.Duration))
	case *samplev1.Part:
		y := b.(*samplev1.Part)
		return cmp.Or(cmp.Compare(x.Serial, y.Serial), cmp.Compare(x.Count, y.Count), cmp.Compare(x.Note, y.Note))
	}
	panic("BUG: a type without an order")
}

// draw draws a value of a kind, or one that is unset.
func draw(t *rapid.T, kind int) sorts {
	if rapid.IntRange(0, 9).Draw(t, "unset") == 0 {
		return sorts{}
	}
	text := rapid.OneOf(rapid.String(), rapid.StringMatching("[\x00\x01a]{0,3}"))
	switch kind {
	case 0:
		b := rapid.Bool().Draw(t, "bool")
		return sorts{only(wrapperspb.Bool(b), 1), b}
	case 1:
		n := rapid.Int32().Draw(t, "int32")
		return sorts{only(wrapperspb.Int32(n), 1), int64(n)}
	case 2:
		n := rapid.Int64().Draw(t, "int64")
		return sorts{only(wrapperspb.Int64(n), 1), n}
	case 3:
		n := rapid.Uint64().Draw(t, "uint64")
		return sorts{only(wrapperspb.UInt64(n), 1), n}
	case 4:
		odd := []float64{math.NaN(), math.Float64frombits(math.MaxUint64), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), math.SmallestNonzeroFloat64}
		n := rapid.OneOf(rapid.Float64(), rapid.SampledFrom(odd)).Draw(t, "double")
		return sorts{only(wrapperspb.Double(n), 1), n}
	case 5:
		n := rapid.Float32().Draw(t, "float")
		return sorts{only(wrapperspb.Float(n), 1), float64(n)}
	case 6:
		s := text.Draw(t, "string")
		return sorts{only(wrapperspb.String(s), 1), s}
	case 7:
		b := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xFE, 0xFF}), 0, 3)).Draw(t, "bytes")
		return sorts{only(wrapperspb.Bytes(b), 1), b}
	case 8:
		n := rapid.Int32Range(0, 4).Draw(t, "enum")
		return sorts{only(&samplev1.RobotState{Phase: samplev1.RobotState_Phase(n)}, 1), int64(n)}
	case 9:
		at := time.Unix(rapid.Int64Range(-3, 3).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
		return sorts{only(&samplev1.RobotState{SeenTime: timestamppb.New(at)}, 3), at}
	case 10:
		d := time.Duration(rapid.Int64Range(-3e9, 3e9).Draw(t, "duration"))
		return sorts{only(&samplev1.RobotSpec{UptimeGoal: durationpb.New(d)}, 11), d}
	default:
		p := &samplev1.Part{Serial: text.Draw(t, "serial"), Count: rapid.Int32Range(-1, 1).Draw(t, "count"), Note: text.Draw(t, "note")}
		return sorts{fieldpath.Value{Value: protoreflect.ValueOfMessage(p.ProtoReflect())}, p}
	}
}

// Keys compare as values do, and keys after one another as tuples do.
func TestAppendKey_Order(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var x, y []byte
		want := 0
		for range rapid.IntRange(1, 3).Draw(t, "elements") {
			kind := rapid.IntRange(0, 11).Draw(t, "kind")
			a, b := draw(t, kind), draw(t, kind)
			if rapid.Bool().Draw(t, "same") {
				b = a
			}
			var one int
			switch {
			case a.by == nil && b.by == nil:
			case b.by == nil:
				one = 1
			default:
				one = compare(a.by, b.by)
			}
			require.Equal(t, one, fieldpath.Compare(a.value, b.value))
			want = cmp.Or(want, one)
			x, y = fieldpath.AppendKey(x, a.value), fieldpath.AppendKey(y, b.value)
		}
		require.Equal(t, want, bytes.Compare(x, y))
		// Whatever follows, a tuple that is less stays so.
		tail := rapid.SliceOf(rapid.Byte()).Draw(t, "tail")
		if want != 0 {
			require.Equal(t, want, bytes.Compare(append(x, tail...), y))
			require.Equal(t, want, bytes.Compare(x, append(y, tail...)))
		}
	})
}

// The format is stored: these bytes do not change.
func TestAppendKey_Bytes(t *testing.T) {
	t.Parallel()
	f := func(v fieldpath.Value, want string) {
		t.Helper()
		require.Equal(t, []byte("x"+want), fieldpath.AppendKey([]byte("x"), v))
	}
	f(fieldpath.Value{}, "\x00")
	f(only(wrapperspb.Bool(false), 1), "\x02")
	f(only(wrapperspb.Bool(true), 1), "\x03")
	f(only(wrapperspb.Int32(-1), 1), "\x04\x7f\xff\xff\xff\xff\xff\xff\xff")
	f(only(wrapperspb.Int64(1), 1), "\x04\x80\x00\x00\x00\x00\x00\x00\x01")
	f(only(&samplev1.RobotState{Phase: 2}, 1), "\x04\x80\x00\x00\x00\x00\x00\x00\x02")
	f(only(wrapperspb.UInt32(1), 1), "\x05\x00\x00\x00\x00\x00\x00\x00\x01")
	f(only(wrapperspb.Double(0), 1), "\x06\x80\x00\x00\x00\x00\x00\x00\x00")
	f(only(wrapperspb.Double(math.Copysign(0, -1)), 1), "\x06\x80\x00\x00\x00\x00\x00\x00\x00")
	f(only(wrapperspb.Double(1), 1), "\x06\xbf\xf0\x00\x00\x00\x00\x00\x00")
	f(only(wrapperspb.Float(-1), 1), "\x06\x40\x0f\xff\xff\xff\xff\xff\xff")
	f(only(wrapperspb.Double(math.NaN()), 1), "\x06\xff\xff\xff\xff\xff\xff\xff\xff")
	f(only(wrapperspb.String("a\x00b"), 1), "\x07a\x00\xffb\x00\x01")
	f(only(wrapperspb.Bytes([]byte("a")), 1), "\x08a\x00\x01")
	f(only(&samplev1.RobotState{SeenTime: &timestamppb.Timestamp{Seconds: 1, Nanos: 2}}, 3), "\x09\x80\x00\x00\x00\x00\x00\x00\x01\x80\x00\x00\x02")
	f(only(&samplev1.RobotSpec{UptimeGoal: &durationpb.Duration{Nanos: -1}}, 11), "\x09\x80\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff")
	alias := &samplev1.RobotSpec{Aliases: []*samplev1.Alias{{Network: "l", Key: "k"}}}
	f(parse(t, "spec.aliases").Get((&samplev1.Robot{Spec: alias}).ProtoReflect())[0], "\x0a\x07l\x00\x01\x07k\x00\x01\x07\x00\x01")
	// Unset fields with presence, lists and maps in a message.
	var m descriptorpb.DescriptorProto_ExtensionRange
	f(fieldpath.Value{Value: protoreflect.ValueOfMessage(m.ProtoReflect())}, "\x0a\x00\x00\x00")
	f(fieldpath.Value{Value: protoreflect.ValueOfMessage(read(t, `metadata{syncing{regions:"a" regions:"b"}}`).GetMetadata().GetSyncing().ProtoReflect())}, "\x0a\x07\x00\x01\x07a\x00\x01\x07b\x00\x01\x01")
	f(fieldpath.Value{Value: protoreflect.ValueOfMessage(read(t, `spec{settings{fields{key:"k" value{bool_value:true}}}}`).GetSpec().GetSettings().ProtoReflect())}, "\x0a\x07k\x00\x01\x0a\x00\x00\x00\x03\x00\x00\x01")
}

// What begins with a prefix is between it and it with FF.
func TestAppendPrefix_Range(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.StringMatching("[a\x00é]{0,2}").Draw(t, "prefix")
		s := rapid.StringMatching("[a\x00é\U0010ffff]{0,4}").Draw(t, "s")
		key := fieldpath.AppendKey(nil, only(wrapperspb.String(s), 1))
		from := fieldpath.AppendPrefix(nil, prefix)
		to := append(bytes.Clone(from), 0xFF)
		require.Equal(t, len(s) >= len(prefix) && s[:len(prefix)] == prefix, bytes.Compare(from, key) <= 0 && bytes.Compare(key, to) < 0)
	})
}

func BenchmarkAppendKey_String(b *testing.B) {
	p, m := parse(b, "spec.model"), read(b, `spec{model:"projects/p/models/m"}`).ProtoReflect()
	v := p.Get(m)[0]
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst = fieldpath.AppendKey(dst[:0], v)
	}
}

func BenchmarkAppendKey_Timestamp(b *testing.B) {
	p, m := parse(b, "state.seen_time"), read(b, `state{seen_time{seconds:1}}`).ProtoReflect()
	v := p.Get(m)[0]
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst = fieldpath.AppendKey(dst[:0], v)
	}
}

func BenchmarkValues_OfTwoFields(b *testing.B) {
	p, m := parse(b, "spec.power"), read(b, `spec{power:1}`).ProtoReflect()
	b.ReportAllocs()
	for b.Loop() {
		p.Values(m, func(fieldpath.Value) bool { return true })
	}
}
