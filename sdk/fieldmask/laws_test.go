package fieldmask_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.einride.tech/aip/fieldmask"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ours "selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// equal requires that two robots are.
func equal(t *rapid.T, want, got proto.Message) {
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestProject_ThenMergeIsIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k, m := mask(t, false), robot(t, "m")
		p := ours.Project(k, m)
		same, fresh := clone(m), &samplev1.Robot{}
		require.NoError(t, ours.Merge(k, same, p))
		equal(t, m, same)
		require.NoError(t, ours.Merge(k, fresh, p))
		equal(t, p, fresh)
		equal(t, p, ours.Project(k, p))
	})
}

func TestProject_LeavesTheSourceAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k, m := mask(t, true), robot(t, "m")
		before := clone(m)
		ours.Project(k, m)
		equal(t, before, m)
	})
}

func TestDiff_MergesIntoTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := robot(t, "a"), robot(t, "b")
		k := ours.Diff(a, b)
		require.Equal(t, proto.Equal(a, b), k.IsEmpty())
		require.Equal(t, k.String(), ours.Diff(b, a).String())
		got, before := clone(a), clone(b)
		require.NoError(t, ours.Merge(k, got, b))
		equal(t, b, got)
		equal(t, before, b)
		// Every path is needed: what differs least is least.
		for _, p := range k.Paths() {
			require.False(t, p.Equal(a.ProtoReflect(), b.ProtoReflect()) && p.Has(a.ProtoReflect()) == p.Has(b.ProtoReflect()) && !p.Inside(), p.String())
		}
	})
}

func TestMerge_FullIsClone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		for _, k := range []ours.Mask{ours.Full(robotType), ours.All(robotType)} {
			a, b := robot(t, "a"), robot(t, "b")
			require.NoError(t, ours.Merge(k, a, b))
			equal(t, b, a)
			equal(t, b, ours.Project(k, b))
		}
		b := robot(t, "b")
		equal(t, b, ours.Project(ours.Mask{}, b))
		equal(t, b, ours.Project(ours.New(robotType, fieldpath.Terminals(b.ProtoReflect())...), b))
	})
}

func TestMask_Laws(t *testing.T) {
	t.Parallel()
	same := func(t *rapid.T, a, b ours.Mask) {
		require.True(t, a.Covers(b) && b.Covers(a), "%v\n%v", a, b)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := mask(t, true), mask(t, true), mask(t, true)
		union, both, rest := ours.Union(a, b), ours.Intersect(a, b), ours.Subtract(a, b)

		require.True(t, union.Covers(a) && union.Covers(b))
		require.True(t, a.Covers(both) && b.Covers(both))
		require.True(t, a.Covers(rest))
		require.True(t, ours.Intersect(rest, b).IsEmpty(), "%v - %v = %v", a, b, rest)
		require.True(t, a.Covers(ours.Union(rest, both)))
		require.Equal(t, a.Covers(b), ours.Subtract(b, a).IsEmpty())
		require.True(t, ours.Subtract(a, a).IsEmpty())
		same(t, ours.Subtract(union, ours.None(robotType)), union)

		require.Equal(t, union.String(), ours.Union(b, a).String())
		same(t, both, ours.Intersect(b, a))
		require.Equal(t, a.String(), ours.Union(a, a).String())
		same(t, a, ours.Intersect(a, a))
		require.Equal(t, ours.Union(union, c).String(), ours.Union(a, ours.Union(b, c)).String())
		same(t, ours.Intersect(both, c), ours.Intersect(a, ours.Intersect(b, c)))
		same(t, ours.Intersect(union, c), ours.Union(ours.Intersect(a, c), ours.Intersect(b, c)))
	})
}

// Where no path is in a map, what is taken away and what is left is all.
func TestSubtract_NothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := mask(t, true), mask(t, true)
		for _, p := range append(a.Paths(), b.Paths()...) {
			for _, s := range p.Steps() {
				if s.Key.IsValid() {
					t.Skip("a key")
				}
			}
		}
		back := ours.Union(ours.Subtract(a, b), ours.Intersect(a, b))
		require.True(t, back.Covers(a) && a.Covers(back), "%v\n%v", back, a)
	})
}

func TestCovers_IsWhatProjectShows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, m := mask(t, true), mask(t, true), robot(t, "m")
		union := ours.Union(a, b)
		equal(t, ours.Project(a, m), ours.Project(a, ours.Project(union, m)))
		for _, p := range a.Paths() {
			require.True(t, p.Equal(m.ProtoReflect(), ours.Project(a, m).ProtoReflect()), p.String())
		}
		for _, p := range b.Paths() {
			require.True(t, fieldpath.Covers(p, p))
			if ours.Intersect(a, ours.New(robotType, p)).IsEmpty() && !p.Desc().HasPresence() {
				require.False(t, p.Has(ours.Project(a, m).ProtoReflect()), "%v shows %v", a, p)
			}
		}
	})
}

func TestMask_TextsAndMinimal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := mask(t, true)
		paths := k.Paths()
		for i, p := range paths {
			for j, q := range paths {
				require.True(t, i == j || !fieldpath.Covers(p, q), "%v covers %v", p, q)
			}
		}
		for _, text := range []string{k.String(), k.JSON()} {
			again, err := ours.ParseText(robotType, text)
			require.NoError(t, err)
			require.Equal(t, k.String(), again.String())
		}
		again, err := ours.Parse(robotType, k.Proto())
		require.NoError(t, err)
		require.Equal(t, k.String(), again.String())
	})
}

// What update semantics are is what another implementation of AIP-134 does,
// where it knows what we do: it has no map keys, makes the messages on the way
// also where there is nothing to put in them, and without a mask mixes the
// seconds of one time with the nanoseconds of another.
func TestMerge_Oracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k, a, b := mask(t, false), robot(t, "a"), robot(t, "b")
		for _, p := range k.Paths() {
			for _, s := range p.Steps() {
				if s.Key.IsValid() {
					t.Skip("a key")
				}
			}
		}
		if k.IsEmpty() { // which to the other is none
			k = ours.Mask{}
			for _, p := range fieldpath.Terminals(a.ProtoReflect()) {
				if in := p.Desc().Message(); in != nil && fieldpath.Atomic(in) {
					p.Clear(a.ProtoReflect())
				}
			}
		}
		require.NoError(t, fieldmask.Validate(k.Proto(), a))
		theirs := clone(a)
		fieldmask.Update(k.Proto(), theirs, clone(b))
		require.NoError(t, ours.Merge(k, a, b))
		equal(t, pruned(theirs), pruned(a))
	})
}

func TestCopy_KeepsWhatTheSourceHasNot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k, a, b := mask(t, false), robot(t, "a"), robot(t, "b")
		merged, copied := clone(a), clone(a)
		require.NoError(t, ours.Merge(k, merged, b))
		require.NoError(t, ours.Copy(k, copied, b))
		require.NoError(t, ours.Copy(k, copied, b))
		for _, p := range k.Paths() {
			switch has := p.Has(b.ProtoReflect()); {
			case has && p.Field().HasPresence(): // a message, into which is copied
			case has:
				require.True(t, p.Equal(merged.ProtoReflect(), copied.ProtoReflect()), p.String())
			case p.Has(a.ProtoReflect()):
				require.True(t, p.Equal(a.ProtoReflect(), copied.ProtoReflect()), p.String())
			default:
				require.False(t, p.Has(copied.ProtoReflect()) && !p.Field().HasPresence(), p.String())
			}
		}
		require.NoError(t, ours.Copy(ours.Mask{}, a, b))
		require.NoError(t, ours.Copy(ours.All(robotType), a, b))
	})
}
