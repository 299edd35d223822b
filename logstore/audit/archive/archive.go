// Package archive copies chains of the audit trail to where the platform
// cannot change them: files in a folder or in S3 that verify by themselves,
// without the platform and without its software.
//
//	keys.json                             the platform's public keys
//	PROJECT/00000000000000000001.ndjson.gz  records from number 1 on
//	PROJECT/00000000000000020481.ndjson.gz  those that follow
//
// A file is lines of JSON, compressed: first what the chain was before it and
// the hash of the file before it, then records and checkpoints, and a
// checkpoint at the end. docs/audit-format.md has all of it. A slash in the
// project's id is a plus in the name.
//
// The one invariant: a file is whole or not there, and never changed. So an
// export that was cut off is run again, and one that has nothing to do does
// nothing. Two exports at once to one place are a Conflict for one of them.
package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// Format names the format in each file.
const Format = "selvedge.dev/audit/v1"

// KeysFile is the name of the file of public keys.
const KeysFile = "keys.json"

// suffix ends the names of files.
const suffix = ".ndjson.gz"

// The sizes of files before compression.
const (
	// fileBytes is where a file ends, at the next checkpoint: some megabytes
	// once it is compressed.
	fileBytes = 32 << 20
	// maxFileBytes is more than that, a run of records without a checkpoint
	// and a batch: what is larger is not unpacked.
	maxFileBytes = 1 << 30
	// maxLine is a record of the largest data, with every byte escaped.
	maxLine = 6*chain.MaxData + 64<<10
)

// Target is where files go.
type Target interface {
	// Create makes a file, durably and whole or not at all. One that is there
	// already is Exists.
	Create(ctx context.Context, name string, data []byte) error
	// Replace makes a file or takes the place of one.
	Replace(ctx context.Context, name string, data []byte) error
	// Get reads a file; one that is not there is NotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// List gives the names that begin with a prefix, ascending.
	List(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// Source is a trail, open or as files.
type Source interface {
	// Read gives the items of a project's chain from a record on.
	Read(ctx context.Context, project string, from uint64) iter.Seq2[chain.Item, error]
}

// Options configures an export.
type Options struct {
	// Keys are the platform's public keys: signatures are checked with them,
	// and they are written beside the files.
	Keys chain.Keys
	// Progress hears of every file that was written; nil is nobody.
	Progress func(Progress)
	// FileBytes is the size of a file before compression; 0 means 32 MiB.
	FileBytes int
}

// Progress is how far an export has come.
type Progress struct {
	Project string `json:"project"`
	// Records is the last record that is exported, all runs together.
	Records uint64 `json:"records"`
	// Files and Bytes are what this run wrote.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// line is a line of a file: one of these.
type line struct {
	File       *head       `json:"file,omitempty"`
	Record     *chain.Link `json:"record,omitempty"`
	Checkpoint string      `json:"checkpoint,omitempty"`
}

// head is the first line.
type head struct {
	Format  string `json:"format"`
	Project string `json:"project"`
	// First is the first record, Peaks and Prev the state before it.
	First uint64       `json:"first"`
	Peaks []chain.Hash `json:"peaks,omitempty"`
	Prev  chain.Hash   `json:"prev"`
	// Checkpoint is that of the records before.
	Checkpoint string `json:"checkpoint,omitempty"`
	// PreviousFile and PreviousSHA256 are the file before.
	PreviousFile   string `json:"previousFile,omitempty"`
	PreviousSHA256 string `json:"previousSHA256,omitempty"`
}

// folder is what the names of a project's files begin with.
func folder(project string) string { return strings.ReplaceAll(project, "/", "+") + "/" }

// fileName is the name of the file that begins with record first.
func fileName(project string, first uint64) string {
	return fmt.Sprintf("%s%020d%s", folder(project), first, suffix)
}

// writer makes one file after the other.
type writer struct {
	target   Target
	limit    int
	report   func(Progress)
	progress Progress
	verifier *chain.Verifier

	previous, sum string // the file before
	begin         chain.Start
	packed        bytes.Buffer
	zip           *gzip.Writer
	lines         bytes.Buffer // since the last checkpoint
	size          int          // of the lines in the file
}

// Export copies what is new of a project's chain, up to its last checkpoint,
// and verifies it on the way: a *chain.Finding stops it, with what was written
// so far being right.
func Export(ctx context.Context, source Source, target Target, project string, o Options) (Progress, error) {
	const op = "archive.Export"
	if err := chain.CheckProject(project); err != nil {
		return Progress{}, err
	}
	w := &writer{target: target, limit: o.FileBytes, report: o.Progress, progress: Progress{Project: project}}
	if w.limit == 0 {
		w.limit = fileBytes
	}
	if w.report == nil {
		w.report = func(Progress) {}
	}
	w.verifier = chain.NewVerifier(chain.VerifyOptions{Project: project, Keys: o.Keys, Partial: true})
	err := w.resume(ctx, project)
	if err == nil && len(o.Keys) > 0 {
		err = target.Replace(ctx, KeysFile, o.Keys.JSON())
	}
	if err == nil {
		err = w.run(ctx, source)
	}
	if err != nil {
		return w.progress, wrap(op, err)
	}
	return w.progress, nil
}

// wrap says which operation failed; a finding stays one.
func wrap(op string, err error) error {
	var found *chain.Finding
	if errors.As(err, &found) {
		return err
	}
	return &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Err: err}
}

// resume finds where the last export ended, in its last file.
func (w *writer) resume(ctx context.Context, project string) error {
	last := ""
	for name, err := range w.target.List(ctx, folder(project)) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, suffix) {
			last = name
		}
	}
	if last == "" {
		return nil
	}
	data, err := w.target.Get(ctx, last)
	if err != nil {
		return err
	}
	for i, err := range unpack(data, &head{}, 1) {
		if err == nil {
			err = w.verifier.Add(i)
		}
		if err != nil {
			return fmt.Errorf("the last file there, %s: %w", last, err)
		}
	}
	w.previous, w.sum = last, digest(data)
	w.progress.Records = w.verifier.Next() - 1
	return nil
}

// digest is the hash of a file.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// run writes what follows.
func (w *writer) run(ctx context.Context, source Source) error {
	w.begin = w.verifier.State()
	for i, err := range source.Read(ctx, w.progress.Project, w.verifier.Next()) {
		if err == nil {
			err = w.verifier.Add(i)
		}
		if err != nil {
			return err
		}
		if err := w.add(ctx, i); err != nil {
			return err
		}
	}
	return w.finish(ctx)
}

// add adds an item. A file can end behind a checkpoint only, so that records
// wait for one.
func (w *writer) add(ctx context.Context, i chain.Item) error {
	switch {
	case i.Link != nil:
		return w.line(line{Record: i.Link})
	case i.Checkpoint == nil || i.Checkpoint.Size < w.begin.Tree.Size+1:
		return nil
	}
	if err := w.line(line{Checkpoint: i.Checkpoint.Note()}); err != nil {
		return err
	}
	if w.zip == nil {
		if err := w.start(); err != nil {
			return err
		}
	}
	w.size += w.lines.Len()
	if _, err := w.lines.WriteTo(w.zip); err != nil {
		return err
	}
	if w.size < w.limit {
		return nil
	}
	return w.finish(ctx)
}

// line adds a line to those that wait.
func (w *writer) line(l line) error {
	text, err := json.Marshal(l)
	w.lines.Write(append(text, '\n'))
	return err
}

// start begins a file.
func (w *writer) start() error {
	h := head{
		Format: Format, Project: w.progress.Project, First: w.begin.Tree.Size + 1, Peaks: w.begin.Tree.Peaks, Prev: w.begin.Prev,
		PreviousFile: w.previous, PreviousSHA256: w.sum,
	}
	if c := w.begin.Checkpoint; c != nil {
		h.Checkpoint = c.Note()
	}
	text, err := json.Marshal(line{File: &h})
	if err != nil {
		return err
	}
	w.packed.Reset()
	w.zip, w.size = gzip.NewWriter(&w.packed), 0
	_, err = w.zip.Write(append(text, '\n'))
	return err
}

// finish ends the file, if there is one.
func (w *writer) finish(ctx context.Context) error {
	if w.zip == nil {
		return nil
	}
	if err := w.zip.Close(); err != nil {
		return err
	}
	w.zip = nil
	name := fileName(w.progress.Project, w.begin.Tree.Size+1)
	err := w.target.Create(ctx, name, w.packed.Bytes())
	if fault.KindOf(err) == fault.Exists {
		err = &fault.Error{Name: name, Kind: fault.Conflict, Reason: "AUDIT_EXPORT_RUNS", Err: fmt.Errorf("%s was written meanwhile: another export goes to the same place", name)}
	}
	if err != nil {
		return err
	}
	w.previous, w.sum = name, digest(w.packed.Bytes())
	w.begin = w.verifier.State()
	w.progress.Records = w.begin.Tree.Size
	w.progress.Files++
	w.progress.Bytes += int64(w.packed.Len())
	w.report(w.progress)
	return nil
}
