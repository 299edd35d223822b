package watch

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// robots are the method that watches robots.
func robots(tb testing.TB) *schema.Method {
	tb.Helper()
	types := new(schema.Registry)
	samplev1.AddTo(types)
	m, ok := types.Method("selvedge.sample.v1.RobotService.WatchRobots")
	require.True(tb, ok)
	return m
}

// applyMoves is what a receiver does with changes: the rule of [protocol.moves].
func applyMoves(p *protocol, page []proto.Message, changes []protoreflect.Message) []proto.Message {
	for _, c := range changes {
		if c.Has(p.removed) {
			i := int(c.Get(p.removed).Message().Get(p.removedIndex).Int())
			page = slices.Delete(page, i, i+1)
			continue
		}
		set := c.Get(p.set).Message()
		if !set.Get(p.isNew).Bool() {
			i := int(set.Get(p.previous).Int())
			page = slices.Delete(page, i, i+1)
		}
		page = slices.Insert(page, int(set.Get(p.index).Int()), set.Get(p.object).Message().Interface())
	}
	return page
}

// page draws a page of distinct objects.
func page(t *rapid.T, label string) []shown {
	ids := rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 8, rapid.ID[int]).Draw(t, label)
	out := make([]shown, len(ids))
	for i, id := range ids {
		name := fmt.Sprintf("projects/p/robots/r%d", id)
		r := &samplev1.Robot{Name: name, DisplayName: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "value")}
		out[i] = shown{resource.Name(name), r}
	}
	return out
}

// SPEC 1.F 37: the indexes lead from any page to any other.
func TestMoves_LeadFromPageToPage(t *testing.T) {
	t.Parallel()
	p := protocolOf(robots(t))
	rapid.Check(t, func(t *rapid.T) {
		have, want := page(t, "have"), page(t, "want")
		var array []proto.Message
		for _, s := range have {
			array = append(array, s.object)
		}
		array = applyMoves(p, array, p.moves(have, want))
		require.Len(t, array, len(want))
		for i, s := range want {
			require.True(t, proto.Equal(s.object, array[i]))
		}
	})
}

// TestMoves_MovesOnlyWhatMoved shows that what stays in order is not told.
func TestMoves_MovesOnlyWhatMoved(t *testing.T) {
	t.Parallel()
	p := protocolOf(robots(t))
	f := func(have, want string, changes int) {
		t.Helper()
		of := func(s string) (out []shown) {
			for _, c := range s {
				out = append(out, shown{resource.Name(c), &samplev1.Robot{Name: string(c)}})
			}
			return out
		}
		require.Len(t, p.moves(of(have), of(want)), changes)
	}
	f("", "", 0)
	f("abc", "abc", 0)
	f("", "abc", 3)
	f("abc", "", 3)
	f("abcdef", "bcdefa", 1)
	f("abcdef", "fabcde", 1)
	f("abcdef", "abcdeg", 2)
	f("abcdef", "acbdfe", 2)
	f("abcdef", "fedcba", 5)
}

// SPEC 1.F 39: a token is that of a watch of the same.
func TestToken_IsOfItsWatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := token{seq: store.Seq(rapid.Int64Range(0, 1<<62).Draw(t, "seq")), size: rapid.Int64Min(-1).Draw(t, "size")}
		text := want.format("key")
		got, err := parseToken(text, "key")
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = parseToken(text, "other key")
		require.ErrorContains(t, err, "another parent, filter or read mask")
	})
}

// FuzzToken checks that no text is read as a token but one that a token has.
func FuzzToken(f *testing.F) {
	f.Add(token{seq: 7, size: -1}.format("key"))
	f.Add("")
	f.Add("AQAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseToken(text, "key")
		if err == nil && got.format("key") != text {
			t.Fatalf("%q is read as %+v, whose text is %q", text, got, got.format("key"))
		}
	})
}
