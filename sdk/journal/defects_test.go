package journal_test

import (
	"errors"
	"os"
	"strings"

	"selvedge.dev/sdk/journal"
)

// defect is a mistake that the journal could make, seeded to prove that the
// model would notice. All but unchecked are made by a file system that does not
// do what the journal asked for, as if it had not asked.
type defect int

// The defects.
const (
	none           defect = iota
	unchecked             // checksums are not compared
	unsyncedData          // frames are not synced
	ackBeforeSync         // frames are synced after Append returned
	unsyncedDir           // the directory is never synced
	rollBeforeDir         // frames are written, and acknowledged, before their file's name is durable
	syncAgain             // a failed sync is tried again
	trustedTail           // Open does not write and sync what a killed process left
	unsyncedCursor        // cursors are not synced
	oneSlot               // cursors are overwritten in place
	dropBeforeHead        // files are deleted before the head is durable
	lateCursor            // cursors are synced after Commit returned
)

// defects are the names of those that must be caught.
var defects = map[string]defect{
	"no checksum":                         unchecked,
	"no data sync":                        unsyncedData,
	"acknowledged before the sync":        ackBeforeSync,
	"no directory sync":                   unsyncedDir,
	"rolled before the directory sync":    rollBeforeDir,
	"synced again after a failure":        syncAgain,
	"recovered tail shown but not synced": trustedTail,
	"no cursor sync":                      unsyncedCursor,
	"cursor without a second slot":        oneSlot,
	"deleted before the head":             dropBeforeHead,
	"cursor committed before its sync":    lateCursor,
}

// wrap is fs with the defect.
func (d defect) wrap(fs journal.FS) journal.FS {
	if d == none || d == unchecked {
		return fs
	}
	return defectiveFS{fs, d}
}

// defectiveFS makes defective directories.
type defectiveFS struct {
	journal.FS
	defect defect
}

// OpenDir implements journal.FS.
func (f defectiveFS) OpenDir(path string) (journal.Dir, error) {
	d, err := f.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &defectiveDir{Dir: d, defect: f.defect}, nil
}

// defectiveDir makes defective files, and may put off what it should sync.
type defectiveDir struct {
	journal.Dir
	defect  defect
	made    string // the last file
	overdue func() error
}

// putOff does sync only when the next operation begins.
func (d *defectiveDir) putOff(sync func() error) error {
	if err := d.catchUp(); err != nil {
		return err
	}
	d.overdue = sync
	return nil
}

// catchUp does what was put off.
func (d *defectiveDir) catchUp() error {
	sync := d.overdue
	d.overdue = nil
	if sync == nil {
		return nil
	}
	if err := sync(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Open implements journal.Dir.
func (d *defectiveDir) Open(name string, flag int) (journal.File, error) {
	if err := d.catchUp(); err != nil {
		return nil, err
	}
	f, err := d.Dir.Open(name, flag)
	if err != nil {
		return nil, err
	}
	if flag != 0 {
		d.made = name
	}
	return &defectiveFile{File: f, dir: d, name: strings.TrimSuffix(name, ".tmp"), found: flag&os.O_CREATE == 0}, nil
}

// Sync implements journal.Dir.
func (d *defectiveDir) Sync() error {
	switch {
	case d.defect == unsyncedDir:
		return nil
	case d.defect == rollBeforeDir && strings.HasSuffix(d.made, ".seg"):
		// The frames, two operations later, come first.
		return d.putOff(func() error { return d.putOff(func() error { return d.putOff(d.Dir.Sync) }) })
	}
	return d.Dir.Sync()
}

// defectiveFile does not do all that it is asked for.
type defectiveFile struct {
	journal.File
	dir   *defectiveDir
	name  string
	found bool // by Open, not made by this process
}

// frames reports whether this is a segment.
func (f *defectiveFile) frames() bool { return strings.HasSuffix(f.name, ".seg") }

// WriteAt implements io.WriterAt.
func (f *defectiveFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.dir.catchUp(); err != nil {
		return 0, err
	}
	switch {
	case f.dir.defect == trustedTail && f.found && f.frames():
		return len(b), nil
	case f.dir.defect == oneSlot && !f.frames() && at > 0:
		at = 0
	}
	return f.File.WriteAt(b, at)
}

// Sync implements journal.File.
func (f *defectiveFile) Sync() error {
	cursor := strings.HasSuffix(f.name, ".cur")
	switch d := f.dir.defect; {
	case d == unsyncedData && f.frames(), d == unsyncedCursor && cursor, d == dropBeforeHead && f.name == "head":
		return nil
	case d == trustedTail && f.found && f.frames():
		return nil
	case d == ackBeforeSync && f.frames(), d == lateCursor && cursor:
		return f.dir.putOff(f.File.Sync)
	case d == syncAgain:
		if f.File.Sync() == nil {
			return nil
		}
	}
	return f.File.Sync()
}
