package audit_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
)

// TestDamage_EveryBit flips every bit of a small trail's files. Verifying the
// files names the record whose frame it was in.
func TestDamage_EveryBit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	add(t, trail, records("p", 0, 4)...)
	head, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	require.NoError(t, trail.Erase(t.Context(), "p", []uint64{2}, "request 1"))
	require.NoError(t, trail.Close())
	name := segments(t, dir)[0]
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	files, err := audit.OpenFiles(dir)
	require.NoError(t, err)
	verify := func() *chain.Finding {
		_, err := chain.Verify(files.Read(t.Context(), "p", 1), chain.VerifyOptions{Project: "p", Keys: signer().Keys(), Heads: []chain.Checkpoint{head}})
		if err == nil {
			return nil
		}
		var found *chain.Finding
		require.ErrorAs(t, err, &found)
		return found
	}
	require.Nil(t, verify())
	last := uint64(0)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	for bit := range len(text) * 8 {
		_, err := f.WriteAt([]byte{text[bit/8] ^ 1<<(bit%8)}, int64(bit/8))
		require.NoError(t, err)
		found := verify()
		require.NotNil(t, found, "bit %d of byte %d", bit%8, bit/8)
		require.GreaterOrEqual(t, found.Seq, last, "byte %d: %v", bit/8, found)
		last = found.Seq
		_, err = f.WriteAt(text[bit/8:bit/8+1], int64(bit/8))
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.Nil(t, verify())
	require.Equal(t, uint64(6), last, "the last checkpoint is behind record 5")
	t.Logf("%d bits", len(text)*8)
}

// TestDamage_SetAsideAndRecorded: the chain goes on before damage that a
// restart meets, the damaged file stays as evidence, and the chain says so.
func TestDamage_SetAsideAndRecorded(t *testing.T) {
	t.Parallel()
	f := func(name string, do func(text []byte) []byte, lost int) {
		t.Helper()
		dir := t.TempDir()
		trail := open(t, dir)
		add(t, trail, records("p", 0, 10)...)
		head, err := trail.Checkpoint(t.Context(), "p")
		require.NoError(t, err)
		require.NoError(t, trail.Close())
		segment := segments(t, dir)[0]
		text, err := os.ReadFile(segment)
		require.NoError(t, err)
		damaged := do(slices.Clone(text))
		require.NoError(t, os.WriteFile(segment, damaged, 0o600))

		for range 2 { // the second time after a crash before it was recorded
			trail = open(t, dir)
			_, _ = trail.Find(t.Context(), "p", "id-0") // loads the chain
			require.NoError(t, trail.Close())
		}
		trail = open(t, dir)
		add(t, trail, records("p", 5, 12)...)
		all := links(t, trail, "p", 1)
		at := slices.IndexFunc(all, func(l audit.Link) bool { return l.Type == chain.DamageType })
		require.Equal(t, 10-lost, at, name)
		verified(t, trail, "p")
		_, err = trail.Verify(t.Context(), "p", head)
		if lost > 0 {
			var found *chain.Finding
			require.ErrorAs(t, err, &found, "%s: the head of before is met no more", name)
		}
		evidence, err := filepath.Glob(filepath.Join(dir, "chains", "*.damaged"))
		require.NoError(t, err)
		require.Len(t, evidence, 1, name)
		kept, err := os.ReadFile(evidence[0])
		require.NoError(t, err)
		require.Equal(t, damaged, kept, name)
		require.NoError(t, trail.Close())
		trail = open(t, dir)
		require.Equal(t, all, links(t, trail, "p", 1), name)
		add(t, trail, record("p", 20))
		require.Len(t, slices.DeleteFunc(links(t, trail, "p", 1), func(l audit.Link) bool { return l.Type != chain.DamageType }), 1, "%s: recorded once", name)
	}
	f("a bit in the middle", func(b []byte) []byte { b[len(b)/2] ^= 4; return b }, 5)
	f("the header", func(b []byte) []byte { b[9] ^= 1; return b }, 10)
	f("half a record at the end", func(b []byte) []byte { return append(b, 1, 2, 3) }, 0)
}

// TestDamage_OldSegments: what is wrong in a file that nobody writes to any
// more is found by verifying, by name, and stops nobody.
func TestDamage_OldSegments(t *testing.T) {
	t.Parallel()
	f := func(name string, what chain.What, do func(files []string)) {
		t.Helper()
		dir := t.TempDir()
		trail := open(t, dir)
		add(t, trail, records("p", 0, 80)...)
		require.NoError(t, trail.Close())
		files := segments(t, dir)
		require.Greater(t, len(files), 3)
		do(files)
		trail = open(t, dir)
		_, err := trail.Verify(t.Context(), "p")
		var found *chain.Finding
		require.ErrorAs(t, err, &found, name)
		require.Equal(t, what, found.What, "%s: %v", name, err)
		add(t, trail, record("p", 80))
		add(t, trail, record("p", 1))
	}
	f("a file is gone", chain.Missing, func(files []string) { require.NoError(t, os.Remove(files[1])) })
	f("the first file is gone", chain.Missing, func(files []string) { require.NoError(t, os.Remove(files[0])) })
	f("a file is cut", chain.Damaged, func(files []string) { require.NoError(t, os.Truncate(files[1], 2000)) })
	f("two files are exchanged", chain.Damaged, func(files []string) {
		require.NoError(t, os.Rename(files[1], files[1]+".x"))
		require.NoError(t, os.Rename(files[2], files[1]))
		require.NoError(t, os.Rename(files[1]+".x", files[2]))
	})
}

// TestEntry_FromALogStore: the copies of records in a log store verify.
func TestEntry_FromALogStore(t *testing.T) {
	t.Parallel()
	trail := open(t, t.TempDir())
	add(t, trail, records("p", 0, 20)...)
	head, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	var entries []logstore.Entry
	for _, l := range links(t, trail, "p", 1) {
		e, err := audit.ToEntry(&l)
		require.NoError(t, err)
		entries = append(entries, e)
	}
	verify := func(entries []logstore.Entry) error {
		_, err := chain.Verify(func(yield func(chain.Item, error) bool) {
			for _, e := range entries {
				l, err := audit.FromEntry(&e)
				if !yield(chain.Item{Link: &l}, err) {
					return
				}
			}
		}, chain.VerifyOptions{Project: "p", Keys: trail.Keys(), Heads: []chain.Checkpoint{head}, Bare: true})
		return err
	}
	require.NoError(t, verify(entries))
	var found *chain.Finding
	require.ErrorAs(t, verify(entries[:19]), &found)
	require.Equal(t, chain.Truncated, found.What)
	entries[4].Payload.Data = []byte(`{}`)
	require.ErrorAs(t, verify(entries), &found)
	require.Equal(t, uint64(5), found.Seq)
	entries[2].Labels = nil
	require.ErrorAs(t, verify(entries), &found)
	require.Equal(t, chain.Damaged, found.What)
	erased := links(t, trail, "p", 1)[0].Erase(3)
	_, err = audit.ToEntry(&erased)
	require.Error(t, err)
}

// TestTrail_Model holds a trail against a list over random appends, erasures
// and restarts.
func TestTrail_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		trail := open(t, dir)
		want := map[string][]audit.Record{}
		next := 0
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			project := rapid.SampledFrom([]string{"a", "b/c"}).Draw(rt, "project")
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				require.NoError(rt, trail.Close())
				trail = open(t, dir)
			case 1:
				require.NoError(rt, trail.Sign(t.Context()))
			default:
				batch := records(project, next, next+rapid.IntRange(1, 30).Draw(rt, "batch"))
				next += len(batch)
				add(t, trail, batch...)
				want[project] = append(want[project], batch...)
			}
		}
		for project, all := range want {
			got := links(t, trail, project, 1)
			require.Len(rt, got, len(all))
			for i, l := range got {
				require.Equal(rt, all[i], l.Record)
			}
			verified(t, trail, project)
		}
		require.NoError(rt, trail.Close())
	})
}

// FuzzSegment: whatever is in a file, verifying it says what is wrong.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	trail := open(f, dir)
	add(f, trail, records("p", 0, 8)...)
	require.NoError(f, trail.Erase(f.Context(), "p", []uint64{2}, "request 1"))
	require.NoError(f, trail.Close())
	text, err := os.ReadFile(segments(f, dir)[0])
	require.NoError(f, err)
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "chains"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chains", "p-0000000000000001.chain"), text, 0o600))
		files, err := audit.OpenFiles(dir)
		require.NoError(t, err)
		_, err = chain.Verify(files.Read(t.Context(), "p", 1), chain.VerifyOptions{Project: "p", Keys: signer().Keys()})
		if err != nil {
			var found *chain.Finding
			require.ErrorAs(t, err, &found)
		}
	})
}
