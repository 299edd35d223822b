package audit_test

import (
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
)

// noon is when the records of the tests begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// fixed signs with one key and has no files.
type fixed struct{ private ed25519.PrivateKey }

// Name implements audit.Signer.
func (fixed) Name() string { return "audit.test" }

// Sign implements audit.Signer.
func (f fixed) Sign(c *audit.Checkpoint) error { return c.Sign(f.private) }

// Keys implements audit.Signer.
func (f fixed) Keys() chain.Keys {
	return chain.Keys{chain.NewKey(f.Name(), f.private.Public().(ed25519.PublicKey), noon.AddDate(-1, 0, 0))}
}

// signer is the key of most tests.
func signer() fixed {
	return fixed{ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))}
}

// clock is a clock that stands still.
func clock() time.Time { return noon }

// open opens a trail with small segments.
func open(t testing.TB, dir string) *audit.Trail {
	t.Helper()
	trail, err := audit.Open(dir, audit.Options{Signer: signer(), SegmentBytes: 4 << 10, CheckpointRecords: 10, Now: clock})
	require.NoError(t, err)
	t.Cleanup(func() { _ = trail.Close() })
	return trail
}

// record is the n-th record of a project.
func record(project string, n int) audit.Record {
	return audit.Record{
		Project: project, ID: fmt.Sprintf("id-%d", n), Time: noon.Add(time.Duration(n) * time.Second),
		Category: []string{"Read", "SpecUpdate"}[n%2], Type: "selvedge.dev/activity",
		Data: fmt.Appendf(nil, `{"n":%d,"who":"users/%d"}`, n, n%7),
	}
}

// records are those from from to to, without to.
func records(project string, from, to int) []audit.Record {
	var all []audit.Record
	for n := from; n < to; n++ {
		all = append(all, record(project, n))
	}
	return all
}

// add appends records.
func add(t testing.TB, trail *audit.Trail, all ...audit.Record) []audit.Place {
	t.Helper()
	places, err := trail.Append(t.Context(), all)
	require.NoError(t, err)
	return places
}

// links reads a chain from a number on.
func links(t testing.TB, trail *audit.Trail, project string, from uint64) []audit.Link {
	t.Helper()
	var all []audit.Link
	for i, err := range trail.Read(t.Context(), project, from) {
		require.NoError(t, err)
		if i.Link != nil {
			all = append(all, *i.Link)
		}
	}
	return all
}

// segments are the files of chains.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "chains", "*.chain"))
	require.NoError(t, err)
	return names
}

// verified verifies a chain.
func verified(t testing.TB, trail *audit.Trail, project string) chain.Report {
	t.Helper()
	r, err := trail.Verify(t.Context(), project)
	require.NoError(t, err)
	return r
}
