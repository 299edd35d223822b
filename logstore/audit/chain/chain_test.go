package chain_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// origin is the platform of the tests.
const origin = "selvedge.dev/audit"

// noon is when their records begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// signer is the private key of a seed.
func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
}

// keys are the public keys of the seeds.
func keys(seeds ...byte) chain.Keys {
	var k chain.Keys
	for _, s := range seeds {
		k = append(k, chain.NewKey(origin, signer(s).Public().(ed25519.PublicKey), noon.Add(-time.Hour)))
	}
	return k
}

// maker makes a chain.
type maker struct {
	project string
	key     ed25519.PrivateKey
	tree    chain.Tree
	prev    chain.Hash
	last    chain.Checkpoint
	items   []chain.Item
}

// record appends a record.
func (m *maker) record(category, kind, data string) chain.Link {
	seq := m.tree.Size
	r := chain.Record{
		Project: m.project, ID: fmt.Sprintf("%s-%d", m.project, seq+1), Time: noon.Add(time.Duration(seq) * time.Second),
		Category: category, Type: kind, Data: []byte(data),
	}
	l := chain.Next(r, chain.Salt{byte(seq), 7}, seq, m.prev)
	m.add(l)
	return l
}

// add appends what is a record already.
func (m *maker) add(l chain.Link) {
	m.tree.Append(l.Hash)
	m.prev = l.Hash
	m.items = append(m.items, chain.Item{Link: &l})
}

// sign appends a checkpoint.
func (m *maker) sign(t testing.TB) chain.Checkpoint {
	c := chain.Checkpoint{
		Origin: origin, Project: m.project, Size: m.tree.Size, Root: m.tree.Root(), Head: m.prev,
		Time: noon.Add(time.Duration(m.tree.Size) * time.Second),
	}
	require.NoError(t, c.Sign(m.key))
	m.last = c
	m.items = append(m.items, chain.Item{Checkpoint: &c})
	return c
}

// made is a chain of n records with a checkpoint behind every third.
func made(t testing.TB, project string, n int) *maker {
	m := &maker{project: project, key: signer('a')}
	for i := range n {
		m.record("Read", "selvedge.dev/activity", fmt.Sprintf(`{"n":%d}`, i))
		if i%3 == 2 {
			m.sign(t)
		}
	}
	return m
}

// all are the items, as a reader gives them.
func all(items []chain.Item) iter.Seq2[chain.Item, error] {
	return func(yield func(chain.Item, error) bool) {
		for _, i := range items {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func TestVerify_WholeChain(t *testing.T) {
	t.Parallel()
	m := made(t, "p", 10)
	r, err := chain.Verify(all(m.items), chain.VerifyOptions{Project: "p", Keys: keys('a'), Heads: []chain.Checkpoint{m.last}})
	require.NoError(t, err)
	require.Equal(t, chain.Report{
		Project: "p", First: 1, Last: 10, Records: 10, Checkpoints: 3, Heads: 1, Unsigned: 1, Signed: true, Head: m.prev, Root: m.tree.Root(),
	}, r)

	r, err = chain.Verify(all(nil), chain.VerifyOptions{})
	require.NoError(t, err)
	require.Zero(t, r.Last)
}

func TestVerify_KeysAndHeads(t *testing.T) {
	t.Parallel()
	m := made(t, "p", 9)
	f := func(name string, items []chain.Item, o chain.VerifyOptions, what chain.What, seq uint64) {
		t.Helper()
		_, err := chain.Verify(all(items), o)
		var found *chain.Finding
		require.ErrorAs(t, err, &found, name)
		require.Equal(t, what, found.What, "%s: %v", name, err)
		require.Equal(t, seq, found.Seq, "%s: %v", name, err)
	}
	f("a key that nobody trusts", m.items, chain.VerifyOptions{Keys: keys('b')}, chain.Forged, 3)
	late := keys('a')
	late[0].From = noon.Add(time.Hour)
	f("a key before its time", m.items, chain.VerifyOptions{Keys: late}, chain.Forged, 3)
	ended := keys('a')
	ended[0].Until = noon.Add(4 * time.Second)
	f("a key after its time", m.items, chain.VerifyOptions{Keys: ended}, chain.Forged, 6)
	f("a cut tail", m.items[:8], chain.VerifyOptions{Keys: keys('a'), Heads: []chain.Checkpoint{m.last}}, chain.Truncated, 7)
	f("nothing left", nil, chain.VerifyOptions{Project: "p", Heads: []chain.Checkpoint{m.last}}, chain.Truncated, 1)
	f("another project", m.items, chain.VerifyOptions{Project: "q"}, chain.Inserted, 1)
	f("a head of another project", m.items, chain.VerifyOptions{Heads: []chain.Checkpoint{made(t, "q", 9).last}}, chain.Inserted, 0)
	f("a head of another chain", made(t, "p", 8).items, chain.VerifyOptions{Heads: []chain.Checkpoint{func() chain.Checkpoint {
		o := &maker{project: "p", key: signer('a')}
		o.record("Read", "x", `{}`)
		return o.sign(t)
	}()}}, chain.Rewritten, 1)
}

// TestVerify_RewrittenWithoutKey: whoever makes the rest of a chain anew, with
// all hashes right, lacks the signatures.
func TestVerify_RewrittenWithoutKey(t *testing.T) {
	t.Parallel()
	honest := made(t, "p", 12)
	forge := &maker{project: "p", key: signer('z')}
	for _, item := range honest.items {
		switch {
		case item.Checkpoint != nil:
			forge.items = append(forge.items, item) // the old signature
		case item.Link.Seq == 5:
			forge.record("Read", "selvedge.dev/activity", `{"n":"somebody else"}`)
		default:
			l := item.Link
			forge.add(chain.Next(l.Record, l.Salt, forge.tree.Size, forge.prev))
		}
	}
	_, err := chain.Verify(all(forge.items), chain.VerifyOptions{Keys: keys('a')})
	var found *chain.Finding
	require.ErrorAs(t, err, &found)
	require.Equal(t, chain.Rewritten, found.What)
	require.Equal(t, uint64(4), found.Seq, "the first that no checkpoint vouches for")
	require.Equal(t, uint64(3), found.Signed)

	forge = &maker{project: "p", key: signer('z')}
	for range 6 {
		forge.record("Read", "x", `{}`)
	}
	forge.sign(t)
	_, err = chain.Verify(all(forge.items), chain.VerifyOptions{Keys: keys('a')})
	require.ErrorAs(t, err, &found)
	require.Equal(t, chain.Forged, found.What)
}

func TestVerify_NoCheckpoints(t *testing.T) {
	t.Parallel()
	m := &maker{project: "p", key: signer('a')}
	v := chain.NewVerifier(chain.VerifyOptions{})
	for range chain.MaxRun {
		l := m.record("Read", "x", `1`)
		require.NoError(t, v.Add(chain.Item{Link: &l}))
		m.items = nil
	}
	l := m.record("Read", "x", `1`)
	var found *chain.Finding
	require.ErrorAs(t, v.Add(chain.Item{Link: &l}), &found)
	require.Equal(t, chain.Unsigned, found.What)
	require.Equal(t, uint64(1), found.Seq)
}

func TestVerify_FromTheMiddle(t *testing.T) {
	t.Parallel()
	m := made(t, "p", 6)
	sixth := m.last
	start := chain.Start{Project: "p", Tree: m.tree.Clone(), Prev: m.prev, Checkpoint: &sixth}
	n := len(m.items)
	m.record("Read", "x", `1`)
	m.sign(t)
	part := append([]chain.Item{{Start: &start}}, m.items[n:]...)
	r, err := chain.Verify(all(part), chain.VerifyOptions{Keys: keys('a'), Partial: true})
	require.NoError(t, err)
	require.Equal(t, uint64(7), r.First)
	_, err = chain.Verify(all(part), chain.VerifyOptions{Keys: keys('a')})
	require.Error(t, err, "that is not all")
	whole := slices.Insert(slices.Clone(m.items), n, chain.Item{Start: &start})
	_, err = chain.Verify(all(whole), chain.VerifyOptions{Keys: keys('a'), Partial: true})
	require.NoError(t, err, "between two files")

	f := func(what chain.What, seq uint64, items ...chain.Item) {
		t.Helper()
		_, err := chain.Verify(all(items), chain.VerifyOptions{Keys: keys('a'), Partial: true})
		var found *chain.Finding
		require.ErrorAs(t, err, &found)
		require.Equal(t, what, found.What, err)
		require.Equal(t, seq, found.Seq, err)
	}
	f(chain.Missing, 1, chain.Item{Start: &chain.Start{Project: "p", Tree: start.Tree, Prev: start.Prev}})
	other := made(t, "p", 3)
	f(chain.Missing, 4, append(other.items, chain.Item{Start: &start})...)
	bent := start
	bent.Prev[0] ^= 1
	f(chain.Rewritten, 1, chain.Item{Start: &bent})
}

func TestVerify_Erasures(t *testing.T) {
	t.Parallel()
	erase := func(m *maker, e chain.Erasure, which ...int) {
		data, err := json.Marshal(e)
		require.NoError(t, err)
		l := m.record(chain.OwnCategory, chain.ErasureType, string(data))
		for _, seq := range which {
			for _, i := range m.items {
				if i.Link != nil && i.Link.Seq == uint64(seq) {
					*i.Link = i.Link.Erase(l.Seq)
				}
			}
		}
	}
	f := func(name string, want uint64, do func(m *maker)) {
		t.Helper()
		m := made(t, "p", 9)
		do(m)
		m.sign(t)
		r, err := chain.Verify(all(m.items), chain.VerifyOptions{Keys: keys('a')})
		if want == 0 {
			require.NoError(t, err, name)
			require.NotZero(t, r.Erased)
			return
		}
		var found *chain.Finding
		require.ErrorAs(t, err, &found, name)
		require.Equal(t, chain.Undeclared, found.What, "%s: %v", name, err)
		require.Equal(t, want, found.Seq, "%s: %v", name, err)
	}
	older := chain.Erasure{Category: "Read", Before: noon.Add(4 * time.Second), Through: 9}
	f("by age", 0, func(m *maker) { erase(m, older, 1, 2, 4) })
	f("one by one", 0, func(m *maker) { erase(m, chain.Erasure{Seqs: []uint64{2, 7}}, 2, 7) })
	f("both", 0, func(m *maker) { erase(m, older, 1, 3); erase(m, chain.Erasure{Seqs: []uint64{4}}, 4) })
	f("too young", 1, func(m *maker) { erase(m, older, 1, 5) })
	f("behind the last", 1, func(m *maker) {
		erase(m, chain.Erasure{Category: "Read", Before: noon.Add(time.Hour), Through: 3}, 1, 4)
	})
	f("another category", 2, func(m *maker) { erase(m, chain.Erasure{Category: "Write", Before: noon.Add(time.Hour), Through: 9}, 2) })
	f("one that is not listed", 2, func(m *maker) { erase(m, chain.Erasure{Seqs: []uint64{2, 7}}, 2, 6) })
	f("no reason at all", 3, func(m *maker) { *m.items[2].Link = m.items[2].Link.Erase(100) })
	f("a reason of its own", 3, func(m *maker) { *m.items[2].Link = m.items[2].Link.Erase(3) })
	f("a record that is no erasure", 1, func(m *maker) { *m.items[0].Link = m.items[0].Link.Erase(2) })
	f("an erasure", 10, func(m *maker) {
		erase(m, older)
		erase(m, chain.Erasure{Seqs: []uint64{10}}, 10)
	})
}

func TestRecord_Check(t *testing.T) {
	t.Parallel()
	good := chain.Record{Project: "p", ID: "i", Time: noon, Category: "Read", Type: "t", Data: []byte(`{}`)}
	require.NoError(t, good.Check())
	f := func(field string, change func(r *chain.Record)) {
		t.Helper()
		r := good
		change(&r)
		err := r.Check()
		require.Equal(t, fault.Invalid, fault.KindOf(err), field)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
	}
	f("project", func(r *chain.Record) { r.Project = "" })
	f("project", func(r *chain.Record) { r.Project = "a\nb" })
	f("project", func(r *chain.Record) { r.Project = strings.Repeat("p", chain.MaxProject+1) })
	f("id", func(r *chain.Record) { r.ID = "" })
	f("type", func(r *chain.Record) { r.Type = strings.Repeat("t", chain.MaxName+1) })
	f("category", func(r *chain.Record) { r.Category = "\xff" })
	f("time", func(r *chain.Record) { r.Time = time.Time{} })
	f("time", func(r *chain.Record) { r.Time = noon.AddDate(1000, 0, 0) })
	f("data", func(r *chain.Record) { r.Data = nil })
	f("data", func(r *chain.Record) { r.Data = []byte(`{"a":`) })
	f("data", func(r *chain.Record) { r.Data = []byte("\"\xff\"") })
}
