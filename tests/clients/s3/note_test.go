package s3

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestCheckpoint_OthersReadIt: what verifies Go's checksum database verifies
// our checkpoints, and the proofs of records and of growth.
func TestCheckpoint_OthersReadIt(t *testing.T) {
	t.Parallel()
	open := trail(t, 137)
	old, err := open.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	add(t, open, 137, 500)
	head, err := open.Checkpoint(t.Context(), "p")
	require.NoError(t, err)

	verifier, err := note.NewVerifier(open.Keys()[0].Key)
	require.NoError(t, err)
	text, err := note.Open([]byte(head.Note()), note.VerifierList(verifier))
	require.NoError(t, err)
	require.Equal(t, head.Text(), text.Text)
	_, err = note.Open([]byte(strings.Replace(head.Note(), "\n500\n", "\n501\n", 1)), note.VerifierList(verifier))
	require.Error(t, err)

	for _, seq := range []uint64{1, 2, 77, 256, 499, 500} {
		var leaf tlog.Hash
		for i, err := range open.Read(t.Context(), "p", seq) {
			require.NoError(t, err)
			if i.Link != nil {
				leaf = tlog.RecordHash(i.Link.Hash[:])
				break
			}
		}
		proof, err := open.ProveInclusion(t.Context(), "p", seq, 500)
		require.NoError(t, err)
		var theirs tlog.RecordProof
		for _, h := range proof {
			theirs = append(theirs, tlog.Hash(h))
		}
		require.NoError(t, tlog.CheckRecord(theirs, 500, tlog.Hash(head.Root), int64(seq)-1, leaf))
	}
	proof, err := open.ProveConsistency(t.Context(), "p", 137, 500)
	require.NoError(t, err)
	var theirs tlog.TreeProof
	for _, h := range proof {
		theirs = append(theirs, tlog.Hash(h))
	}
	require.NoError(t, tlog.CheckTree(theirs, 500, tlog.Hash(head.Root), 137, tlog.Hash(old.Root)))
}
