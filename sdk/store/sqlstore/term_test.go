package sqlstore

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/store"
)

// Terms are in the order of index, key and value, whatever bytes those have, and
// those of one index and key are what lies between prefix and after.
func TestTerm_Order(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 0xFE, 0xFF}), 0, 4)
		draw := func() (int64, string, []byte) {
			return rapid.Int64Range(1, 300).Draw(t, "index"), string(bytesOf.Draw(t, "key")), bytesOf.Draw(t, "value")
		}
		i, k, v := draw()
		j, l, w := draw()
		want := cmp.Or(cmp.Compare(i, j), strings.Compare(k, l), bytes.Compare(v, w))
		require.Equal(t, want, bytes.Compare(term(i, k, v), term(j, l, w)))
		require.Len(t, term(i, k, v), termLen(k, v))
		p := prefix(i, k)
		within := bytes.Compare(term(j, l, w), p) >= 0 && bytes.Compare(term(j, l, w), after(p)) < 0
		require.Equal(t, i == j && k == l, within)
	})
}

func TestTerms_Pack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		terms := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "terms")
		packed := PackTerms(terms)
		got := UnpackTerms(packed)
		require.Len(t, got, len(terms))
		for i := range terms {
			require.True(t, bytes.Equal(terms[i], got[i]))
		}
		from, to := rapid.SliceOf(rapid.Byte()).Draw(t, "from"), rapid.SliceOf(rapid.Byte()).Draw(t, "to")
		var want []byte
		slices.SortFunc(terms, bytes.Compare)
		for _, x := range slices.Backward(terms) {
			if bytes.Compare(x, from) >= 0 && bytes.Compare(x, to) < 0 {
				want = x
			}
		}
		require.Equal(t, want, FirstTerm(packed, from, to))
	})
}

// FuzzTerms unpacks anything.
func FuzzTerms(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{0xFF})
	f.Add(PackTerms([][]byte{{1, 2}, {}, {3}}), []byte{2}, []byte{4})
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, []byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, packed, from, to []byte) {
		terms := UnpackTerms(packed)
		if first := FirstTerm(packed, from, to); first != nil {
			require.True(t, slices.ContainsFunc(terms, func(x []byte) bool { return bytes.Equal(x, first) }))
		}
		require.Equal(t, terms, UnpackTerms(PackTerms(terms)))
	})
}

func TestSymbol_Text(t *testing.T) {
	t.Parallel()
	for _, s := range []Symbol{{Type: "a.dev/T"}, {"a.dev/T", "metadata.labels"}, {"a.dev/T", "with a space"}} {
		require.Equal(t, s, ParseSymbol(s.Text()))
	}
}

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	f := func(prefix, want string) {
		t.Helper()
		require.Equal(t, want, PrefixEnd(prefix))
	}
	f("", "")
	f("a", "b")
	f("a\xff\xff", "b")
	f("\xff", "")
}

// What a group does to an object is written once.
func TestState_WritesOnce(t *testing.T) {
	t.Parallel()
	syms := &Symbols{}
	syms.Add(map[Symbol]int64{{Type: "T"}: 1, {"T", "i"}: 2})
	e := func(v string) []filter.Entry { return []filter.Entry{{Index: "i", Value: []byte(v)}} }
	rec := func(v store.Seq) *store.Record { return &store.Record{Version: v} }
	was := &Object{Version: 5, Terms: [][]byte{term(2, "", []byte("x"))}}
	s := newState(Found{Head: Head{Seq: 9, Change: 9}, Objects: map[Key]*Object{{1, "old"}: was}}, syms)
	do := func(w store.Write) {
		w.Type = "T"
		require.NoError(t, s.check(t.Context(), nil, &store.Batch{Writes: []store.Write{w}}))
		s.do(&store.Batch{Writes: []store.Write{w}})
	}
	do(store.Write{Name: "new", After: rec(0), Add: e("a")})
	do(store.Write{Name: "new", Before: rec(10), After: rec(0), Add: e("b"), Drop: e("a")})
	do(store.Write{Name: "gone", After: rec(0), Add: e("c")})
	do(store.Write{Name: "gone", Before: rec(12)})
	do(store.Write{Name: "old", Before: rec(5)})
	do(store.Write{Name: "old", After: rec(0), Add: e("x")})
	r := s.take()
	require.Len(t, r.Objects, 2)
	require.Equal(t, []EntryRow{{term(2, "", []byte("b")), "new"}}, r.Add)
	require.Empty(t, r.Drop, "what is dropped and added is there")
	require.Empty(t, r.Removed, "what was never there is not removed")
	require.Equal(t, []bool{false, true}, []bool{r.Objects[0].Stored, r.Objects[1].Stored})
	require.Len(t, r.Changes, 6)
	require.Equal(t, store.Seq(15), s.Head.Change)
	require.Equal(t, &Rows{}, s.take())
}
