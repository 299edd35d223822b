package chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit/chain"
)

// update writes the vectors anew.
var update = flag.Bool("update", false, "write testdata/vectors.json")

// vectors are a chain with everything that is computed of it, for verifiers of
// others.
type vectors struct {
	About       string       `json:"about"`
	Keys        chain.Keys   `json:"keys"`
	Records     []chain.Link `json:"records"`
	LeafHashes  []chain.Hash `json:"leafHashes"`
	Roots       []chain.Hash `json:"roots"`
	Checkpoint  string       `json:"checkpoint"`
	Inclusion   []chain.Hash `json:"inclusionOfRecord2In3"`
	Consistency []chain.Hash `json:"consistencyFrom2To3"`
	// Erased is record 2 as it is once record 3 has erased its data.
	Erased chain.Link `json:"erased"`
}

// makeVectors makes them.
func makeVectors(t *testing.T) vectors {
	m := &maker{project: "acme/eu", key: signer('v')}
	v := vectors{About: "docs/audit-format.md; the private key is 32 times the byte 0x76", Keys: keys('v')}
	var all []chain.Hash
	for _, data := range []string{`{"n":1,"text":"<ü>"}`, `[]`} {
		v.Records = append(v.Records, m.record("READ", "selvedge.dev/activity", data))
	}
	v.Records = append(v.Records, m.record(chain.OwnCategory, chain.ErasureType, `{"reason":"request 17","seqs":[2]}`))
	for i, l := range v.Records {
		all = append(all, l.Hash)
		v.LeafHashes = append(v.LeafHashes, naive(all[i:]))
		v.Roots = append(v.Roots, naive(all))
	}
	c := m.sign(t)
	v.Checkpoint = c.Note()
	var err error
	v.Inclusion, err = chain.ProveInclusion(2, 3, each(all))
	require.NoError(t, err)
	v.Consistency, err = chain.ProveConsistency(2, 3, each(all))
	require.NoError(t, err)
	v.Erased = v.Records[1].Erase(3)
	return v
}

// TestVectors holds the vectors that verifiers of others are tested with
// against what is computed, and what is computed against the format's text.
func TestVectors(t *testing.T) {
	t.Parallel()
	file := filepath.Join("testdata", "vectors.json")
	var want bytes.Buffer
	out := json.NewEncoder(&want)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	require.NoError(t, out.Encode(makeVectors(t)))
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, want.Bytes(), 0o644))
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "a change of the format makes all trails invalid: -update is not enough")

	// By the text, byte for byte.
	var v vectors
	require.NoError(t, json.Unmarshal(got, &v))
	str := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	u64 := func(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
	prev := strings.Repeat("\x00", 32)
	for i, l := range v.Records {
		data := sha256.Sum256([]byte(str("selvedge.dev/audit/data/v1") + string(l.Salt[:]) + str(string(l.Data))))
		hash := sha256.Sum256([]byte(str("selvedge.dev/audit/record/v1") + str("acme/eu") + u64(uint64(i+1)) + u64(uint64(l.Time.UnixNano())) +
			str(l.Category) + str(l.Type) + str(l.ID) + string(data[:]) + prev))
		require.Equal(t, hex.EncodeToString(hash[:]), hex.EncodeToString(l.Hash[:]))
		prev = string(hash[:])
	}
}
