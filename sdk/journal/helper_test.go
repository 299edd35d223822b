package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// open opens a journal that is closed at the end of the test.
func open(t testing.TB, dir string, o journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() }) // The test has closed it, or does not care.
	return j
}

// appendAll appends records one batch each.
func appendAll(t testing.TB, j *journal.Journal, records ...string) {
	t.Helper()
	for _, r := range records {
		_, err := j.Append(context.Background(), []byte(r))
		require.NoError(t, err)
	}
}

// numbered is n records of size bytes that begin with their numbers.
func numbered(from, n, size int) [][]byte {
	records := make([][]byte, n)
	for i := range records {
		head := fmt.Sprintf("record %d ", from+i)
		records[i] = []byte(head + strings.Repeat("x", max(0, size-len(head))))
	}
	return records
}

// readAll returns every record from the offset from on.
func readAll(t testing.TB, j *journal.Journal, from journal.Offset) map[journal.Offset]string {
	t.Helper()
	got := map[journal.Offset]string{}
	var b journal.Batch
	for {
		require.NoError(t, j.Read(from, &b, 10_000))
		if b.Len() == 0 {
			return got
		}
		for i := range b.Len() {
			got[b.At(i).Offset] = string(b.At(i).Data)
		}
		require.Greater(t, b.Next(), from)
		from = b.Next()
	}
}

// cursor opens a cursor at the oldest record.
func cursor(t testing.TB, j *journal.Journal, name string) *journal.Cursor {
	t.Helper()
	c, err := j.Cursor(name, journal.Oldest)
	require.NoError(t, err)
	return c
}

// gate is a file system on which the syncs of segments wait to be let through.
type gate struct {
	journal.FS
	waiting, pass chan struct{}
}

// newGate is fs with a gate.
func newGate(fs journal.FS) gate {
	return gate{fs, make(chan struct{}), make(chan struct{})}
}

// OpenDir implements journal.FS.
func (g gate) OpenDir(path string) (journal.Dir, error) {
	d, err := g.FS.OpenDir(path)
	return gateDir{d, g}, err
}

// gateDir makes gated files.
type gateDir struct {
	journal.Dir
	gate gate
}

// Open implements journal.Dir.
func (d gateDir) Open(name string, flag int) (journal.File, error) {
	f, err := d.Dir.Open(name, flag)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return f, err
	}
	return gateFile{f, d.gate}, nil
}

// gateFile is a file with the gate.
type gateFile struct {
	journal.File
	gate gate
}

// Sync implements journal.File.
func (f gateFile) Sync() error {
	f.gate.waiting <- struct{}{}
	<-f.gate.pass
	return f.File.Sync()
}

// let lets n syncs through.
func (g gate) let(n int) {
	for range n {
		<-g.waiting
		g.pass <- struct{}{}
	}
}
