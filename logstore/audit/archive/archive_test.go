package archive_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/archive"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// noon is when everything happens.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// signer signs with one key.
type signer struct{ private ed25519.PrivateKey }

// Name implements audit.Signer.
func (signer) Name() string { return "audit.test" }

// Sign implements audit.Signer.
func (s signer) Sign(c *audit.Checkpoint) error { return c.Sign(s.private) }

// Keys implements audit.Signer.
func (s signer) Keys() chain.Keys {
	return chain.Keys{chain.NewKey(s.Name(), s.private.Public().(ed25519.PublicKey), noon.Add(-time.Hour))}
}

// open is a trail with a checkpoint behind every tenth record.
func open(t testing.TB) *audit.Trail {
	key := signer{ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))}
	trail, err := audit.Open(t.TempDir(), audit.Options{Signer: key, SegmentBytes: 8 << 10, CheckpointRecords: 10, Now: func() time.Time { return noon }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, trail.Close()) })
	return trail
}

// add appends records from from to to.
func add(t testing.TB, trail *audit.Trail, project string, from, to int) {
	var all []audit.Record
	for n := from; n < to; n++ {
		all = append(all, audit.Record{
			Project: project, ID: fmt.Sprint(n), Time: noon.Add(time.Duration(n) * time.Millisecond), Category: "Read", Type: "t", Data: fmt.Appendf(nil, `{"n":%d,"text":"<ü>"}`, n),
		})
	}
	_, err := trail.Append(t.Context(), all)
	require.NoError(t, err)
}

// verify verifies a project's files.
func verify(t testing.TB, target archive.Target, project string, keys chain.Keys) (chain.Report, error) {
	return chain.Verify(archive.Read(t.Context(), target, project), chain.VerifyOptions{Project: project, Keys: keys})
}

// names are the files of a target.
func names(t testing.TB, target archive.Target) []string {
	var all []string
	for name, err := range target.List(t.Context(), "") {
		require.NoError(t, err)
		all = append(all, name)
	}
	return all
}

func TestExport_IncrementalAndVerifies(t *testing.T) {
	t.Parallel()
	trail, target := open(t), archive.Folder(t.TempDir())
	add(t, trail, "acme/eu", 0, 95)
	add(t, trail, "other", 0, 5)
	var heard []archive.Progress
	o := archive.Options{Keys: trail.Keys(), FileBytes: 4000, Progress: func(p archive.Progress) { heard = append(heard, p) }}
	p, err := archive.Export(t.Context(), trail, target, "acme/eu", o)
	require.NoError(t, err)
	require.Equal(t, p, heard[len(heard)-1])
	require.Len(t, heard, p.Files)
	require.Greater(t, p.Files, 3)
	require.GreaterOrEqual(t, p.Records, uint64(85), "up to the last checkpoint")
	require.Equal(t, "acme+eu/00000000000000000001.ndjson.gz", names(t, target)[0])
	r, err := verify(t, target, "acme/eu", trail.Keys())
	require.NoError(t, err)
	require.Equal(t, p.Records, r.Last)

	again, err := archive.Export(t.Context(), trail, target, "acme/eu", o)
	require.NoError(t, err)
	require.Equal(t, archive.Progress{Project: "acme/eu", Records: p.Records}, again, "nothing new")

	require.NoError(t, trail.Sign(t.Context()))
	add(t, trail, "acme/eu", 95, 120)
	require.NoError(t, trail.Sign(t.Context()))
	p, err = archive.Export(t.Context(), trail, target, "acme/eu", o)
	require.NoError(t, err)
	require.Equal(t, uint64(120), p.Records)
	head, err := trail.Checkpoint(t.Context(), "acme/eu")
	require.NoError(t, err)
	_, err = archive.Export(t.Context(), trail, target, "other", o)
	require.NoError(t, err)
	r, err = chain.Verify(archive.Read(t.Context(), target, "acme/eu"), chain.VerifyOptions{Keys: trail.Keys(), Heads: []chain.Checkpoint{head}})
	require.NoError(t, err)
	require.Equal(t, uint64(120), r.Records)

	projects, err := archive.Projects(t.Context(), target)
	require.NoError(t, err)
	require.Equal(t, []string{"acme/eu", "other"}, projects)
	keys, err := archive.Keys(t.Context(), target)
	require.NoError(t, err)
	require.Equal(t, trail.Keys(), keys)

	// One file by itself.
	data, err := target.Get(t.Context(), names(t, target)[2])
	require.NoError(t, err)
	r, err = chain.Verify(archive.ReadFile(data), chain.VerifyOptions{Keys: trail.Keys(), Partial: true})
	require.NoError(t, err)
	require.Greater(t, r.First, uint64(1))
}

// TestExport_SurgeryOnFiles does to files what somebody with access to the
// bucket may do.
func TestExport_SurgeryOnFiles(t *testing.T) {
	t.Parallel()
	trail := open(t)
	add(t, trail, "p", 0, 100)
	require.NoError(t, trail.Sign(t.Context()))
	const first, second, third = 1, 21, 41 // records that files begin with
	f := func(name string, what chain.What, seq uint64, do func(files []string)) {
		t.Helper()
		target := archive.Folder(t.TempDir())
		_, err := archive.Export(t.Context(), trail, target, "p", archive.Options{FileBytes: 4000})
		require.NoError(t, err)
		files := names(t, target)
		require.Contains(t, files[2], fmt.Sprint(third))
		for i, n := range files {
			files[i] = filepath.Join(string(target), n)
		}
		do(files)
		_, err = verify(t, target, "p", trail.Keys())
		var found *chain.Finding
		require.ErrorAs(t, err, &found, name)
		require.Equal(t, what, found.What, "%s: %v", name, err)
		require.Equal(t, seq, found.Seq, "%s: %v", name, err)
	}
	f("the first file is gone", chain.Missing, first, func(files []string) { require.NoError(t, os.Remove(files[0])) })
	f("a file is gone", chain.Missing, second, func(files []string) { require.NoError(t, os.Remove(files[1])) })
	f("a file in the place of another", chain.Inserted, second, func(files []string) { require.NoError(t, os.Rename(files[2], files[1])) })
	f("half a file", chain.Damaged, second, func(files []string) {
		require.NoError(t, os.Truncate(files[1], 200))
	})
	f("packed again", chain.Rewritten, third-1, func(files []string) { repack(t, files[1], func(b []byte) []byte { return b }) })
	f("a word in a record", chain.Altered, 23, func(files []string) {
		repack(t, files[1], func(b []byte) []byte { return bytes.Replace(b, []byte(`\"n\":22,`), []byte(`\"n\":29,`), 1) })
	})
	f("no last checkpoint", chain.Damaged, second, func(files []string) {
		repack(t, files[0], func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return bytes.Join(slices.Delete(lines, len(lines)-2, len(lines)-1), nil)
		})
	})
}

// repack changes the lines of a file.
func repack(t testing.TB, name string, do func([]byte) []byte) {
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	zip, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	var out bytes.Buffer
	pack, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = pack.Write(do(text))
	require.NoError(t, err)
	require.NoError(t, pack.Close())
	require.NoError(t, os.WriteFile(name, out.Bytes(), 0o600))
}

// flaky is a folder that fails after some files, and may do so when the file
// is there already.
type flaky struct {
	archive.Folder
	left int
	late bool
}

// Create implements archive.Target.
func (f *flaky) Create(ctx context.Context, name string, data []byte) error {
	if f.left--; f.left < 0 {
		if f.late {
			_ = f.Folder.Create(ctx, name, data)
		}
		return errors.New("the line is cut")
	}
	return f.Folder.Create(ctx, name, data)
}

// TestExport_CutOff: an export that fails anywhere is run again, and the files
// are the same as those of one that did not.
func TestExport_CutOff(t *testing.T) {
	t.Parallel()
	trail, whole, cut := open(t), archive.Folder(t.TempDir()), archive.Folder(t.TempDir())
	add(t, trail, "p", 0, 200)
	require.NoError(t, trail.Sign(t.Context()))
	o := archive.Options{FileBytes: 3000}
	_, err := archive.Export(t.Context(), trail, whole, "p", o)
	require.NoError(t, err)
	fails := 0
	for n := 0; ; n++ {
		_, err := archive.Export(t.Context(), trail, &flaky{cut, n % 3, n%2 == 0}, "p", o)
		if err == nil {
			break
		}
		fails++
	}
	require.Greater(t, fails, 3)
	require.Equal(t, names(t, whole), names(t, cut))
	for _, name := range names(t, whole) {
		a, err := whole.Get(t.Context(), name)
		require.NoError(t, err)
		b, err := cut.Get(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, a, b, name)
	}
}

func TestExport_Refuses(t *testing.T) {
	t.Parallel()
	trail, target := open(t), archive.Folder(t.TempDir())
	_, err := archive.Export(t.Context(), trail, target, "no project", archive.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	p, err := archive.Export(t.Context(), trail, target, "nobody", archive.Options{})
	require.NoError(t, err)
	require.Zero(t, p.Files)
	require.Equal(t, fault.Invalid, fault.KindOf(target.Create(t.Context(), "../x", nil)))
	require.NoError(t, target.Create(t.Context(), "x", nil))
	require.Equal(t, fault.Exists, fault.KindOf(target.Create(t.Context(), "x", nil)))
	_, err = target.Get(t.Context(), "y")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// FuzzReadFile: no file makes the reader do more than say what is wrong.
func FuzzReadFile(f *testing.F) {
	trail, target := open(f), archive.Folder(f.TempDir())
	add(f, trail, "p", 0, 10)
	require.NoError(f, trail.Sign(f.Context()))
	_, err := archive.Export(f.Context(), trail, target, "p", archive.Options{})
	require.NoError(f, err)
	data, err := target.Get(f.Context(), names(f, target)[0])
	require.NoError(f, err)
	zip, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(f, err)
	text, err := io.ReadAll(zip)
	require.NoError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		pack := gzip.NewWriter(&out)
		_, err := pack.Write(text)
		require.NoError(t, err)
		require.NoError(t, pack.Close())
		_, err = chain.Verify(archive.ReadFile(out.Bytes()), chain.VerifyOptions{Partial: true, Keys: trail.Keys()})
		var found *chain.Finding
		require.True(t, err == nil || errors.As(err, &found), "%v", err)
	})
}
