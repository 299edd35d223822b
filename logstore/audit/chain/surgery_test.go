package chain_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore/audit/chain"
)

// lines is a chain as lines of JSON: what an exported file has in it.
func lines(t testing.TB, items []chain.Item) [][]byte {
	var out [][]byte
	for _, i := range items {
		if i.Link == nil {
			out = append(out, []byte(i.Checkpoint.Note()))
			continue
		}
		text, err := json.Marshal(i.Link)
		require.NoError(t, err)
		out = append(out, text)
	}
	return out
}

// parsed is the inverse of lines. A line that cannot be read is Damaged.
func parsed(text [][]byte, like []chain.Item) ([]chain.Item, error) {
	var items []chain.Item
	for i, line := range text {
		if like[i].Link == nil {
			c, err := chain.ParseNote(string(line))
			if err != nil {
				return items, err
			}
			items = append(items, chain.Item{Checkpoint: &c})
			continue
		}
		var l chain.Link
		if err := json.Unmarshal(line, &l); err != nil {
			return items, err
		}
		items = append(items, chain.Item{Link: &l})
	}
	return items, nil
}

// TestVerify_EveryBitOfALine flips every bit of every line of a chain: what
// can still be read names the record that it was flipped in.
func TestVerify_EveryBitOfALine(t *testing.T) {
	t.Parallel()
	m := made(t, "p", 3)
	*m.items[1].Link = m.items[1].Link.Erase(4)
	data, err := json.Marshal(chain.Erasure{Seqs: []uint64{2}})
	require.NoError(t, err)
	m.record(chain.OwnCategory, chain.ErasureType, string(data))
	m.sign(t)
	text := lines(t, m.items)
	flips, same := 0, 0
	for at, line := range text {
		for bit := range len(line) * 8 {
			bent := slices.Clone(text)
			bent[at] = slices.Clone(line)
			bent[at][bit/8] ^= 1 << (bit % 8)
			flips++
			items, err := parsed(bent, m.items)
			if err != nil {
				require.Len(t, items, at, "the line at fault is the first that cannot be read")
				continue
			}
			if again := lines(t, items); slices.EqualFunc(again, text, slices.Equal) {
				same++ // another way to write the same, such as "Seq" for "seq"
				continue
			}
			_, err = chain.Verify(all(items), chain.VerifyOptions{Project: "p", Keys: keys('a')})
			var found *chain.Finding
			require.ErrorAs(t, err, &found, "bit %d of line %s", bit, line)
			if l := m.items[at].Link; l != nil {
				require.Equal(t, l.Seq, found.Seq, "bit %d of line %s: %v", bit, line, err)
			} else if items[at].Checkpoint.Size == m.items[at].Checkpoint.Size {
				require.Equal(t, m.items[at].Checkpoint.Size, found.Seq, "bit %d of %s: %v", bit, line, err)
			}
		}
	}
	require.Less(t, same, flips/20)
	t.Logf("%d bits, %d of them of no meaning", flips, same)
}

// TestVerify_Surgery does to chains what somebody with the files but without
// the key may do, and wants the first record at fault named.
func TestVerify_Surgery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 20).Draw(t, "records")
		m, other := &maker{project: "p", key: signer('a')}, &maker{project: "q", key: signer('a')}
		for range n {
			data := rapid.SampledFrom([]string{`{}`, `{"a":1}`, `"x"`}).Draw(t, "data")
			m.record("Read", "x", data)
			other.record("Read", "x", data)
		}
		items := slices.DeleteFunc(slices.Clone(m.items), func(i chain.Item) bool { return i.Link == nil })
		i := rapid.IntRange(0, n-2).Draw(t, "at")
		j := rapid.IntRange(i+1, n-1).Draw(t, "and")
		want, whats := uint64(i+1), []chain.What{}
		switch rapid.SampledFrom([]string{"swap", "drop", "repeat", "splice", "data", "header", "rehash", "move"}).Draw(t, "surgery") {
		case "swap":
			items[i], items[j] = items[j], items[i]
			whats = append(whats, chain.Reordered)
		case "drop":
			items = slices.Delete(items, i, j)
			whats = append(whats, chain.Missing)
		case "repeat":
			items = slices.Insert(items, j, items[i])
			whats = append(whats, chain.Inserted)
		case "splice":
			items[i] = other.items[i]
			whats = append(whats, chain.Inserted)
			want = uint64(i + 1)
		case "data":
			l := *items[i].Link
			l.Data = append(slices.Clone(l.Data), ' ')
			items[i].Link = &l
			whats = append(whats, chain.Altered)
		case "header":
			l := *items[i].Link
			l.Type += "y"
			items[i].Link = &l
			whats = append(whats, chain.Altered)
		case "rehash":
			l := *items[i].Link
			l.Type += "y"
			l = chain.Next(l.Record, l.Salt, l.Seq-1, l.Prev)
			items[i].Link = &l
			whats = append(whats, chain.Rewritten)
		case "move":
			moved := items[i]
			items = slices.Insert(slices.Delete(items, i, i+1), j, moved)
			whats = append(whats, chain.Reordered)
		}
		_, err := chain.Verify(all(items), chain.VerifyOptions{Project: "p"})
		var found *chain.Finding
		require.ErrorAs(t, err, &found)
		require.Equal(t, want, found.Seq, "%v", err)
		require.Contains(t, whats, found.What, "%v", err)
	})
}

// TestVerify_ForeignInTheMiddle: a record that hangs on nothing is named
// itself, not the one before it.
func TestVerify_ForeignInTheMiddle(t *testing.T) {
	t.Parallel()
	m := made(t, "p", 2)
	for range 4 {
		m.record("Read", "x", `1`)
	}
	l := *m.items[3].Link
	l = chain.Next(l.Record, l.Salt, l.Seq-1, chain.Hash{1})
	m.items[3].Link = &l
	_, err := chain.Verify(all(m.items), chain.VerifyOptions{})
	var found *chain.Finding
	require.ErrorAs(t, err, &found)
	require.Equal(t, chain.Inserted, found.What)
	require.Equal(t, uint64(4), found.Seq)
}
