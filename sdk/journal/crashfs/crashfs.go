// Package crashfs is a file system in memory that loses power: the worst that
// a disk and a kernel may do, for the tests of what must survive it. It
// implements [journal.FS].
//
// What is synced survives; of everything else the power cut keeps what a
// random generator, made from a seed, tells it to:
//
//   - A sector of 512 bytes holds, after the cut, what the last sync left in it,
//     any version written since, or a torn mix of two of these.
//   - A file has any size that it had since its last sync, and sectors that
//     nobody ever synced may show what a deleted file left in the blocks.
//   - Each creation, rename and removal since the last sync of the directory
//     has happened or has not, whatever became of those before it.
//
// A failed sync drops what it should have written, as kernels do: some of it is
// on disk and some is not, reads still show it or no longer do, and no later
// sync writes it. [FS.Kill] ends the process but not the machine, so that a
// successor reads what is not on disk.
//
// There are no subdirectories. An FS may be used by several goroutines, but
// then the order of operations, and so the cut, depends on them.
package crashfs

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"

	"selvedge.dev/sdk/journal"
)

// ErrCut is what every operation fails with from the power cut to Restart.
var ErrCut = errors.New("power is cut")

// The geometry of the disk: what is written in one go or not at all, if it is
// not torn, and what capacity is counted in.
const (
	sectorSize = 512
	blockSize  = 4096
)

// maxDeceased is how many deleted files are remembered for their stale blocks.
const maxDeceased = 8

var _ journal.FS = (*FS)(nil)

// FS is a disk and the page cache before it. Make it with New.
type FS struct {
	mu   sync.Mutex
	rng  *rand.Rand
	dirs map[string]*directory

	noAllocate bool
	capacity   int64 // 0 is unlimited

	steps    int      // operations so far
	cutIn    int      // operations until the cut; 0 is never
	failIn   int      // syncs until one fails; 0 is never
	dead     bool     // power is cut
	process  int      // number of the running process; handles of others are stale
	deceased []*inode // deleted of late
}

// directory is one directory: on disk, as the running processes see it, and
// the steps from the one to the other.
type directory struct {
	disk, cache map[string]*inode
	pending     []change
	locked      bool
}

// change is a creation or rename of to, or a removal of from, or both.
type change struct {
	from, to string
	file     *inode
}

// apply does c to names.
func (c change) apply(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.file
	}
}

// New is an empty disk whose fate follows from seed.
func New(seed uint64) *FS {
	return &FS{rng: rand.New(rand.NewPCG(seed, 0x5e1fed9e)), dirs: map[string]*directory{}}
}

// WithoutAllocate makes Allocate unsupported.
func (f *FS) WithoutAllocate() { f.noAllocate = true }

// SetCapacity bounds the blocks of all files together; 0 is unlimited. What is
// above it already stays.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// CutAfter cuts the power during the n-th changing operation from now; 0 never.
func (f *FS) CutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutIn = n
}

// FailSync fails the n-th sync from now with EIO, once; 0 never.
func (f *FS) FailSync(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failIn = n
}

// Dead reports whether the power is cut.
func (f *FS) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Steps is the number of changing operations so far.
func (f *FS) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

// Used is the size of the blocks of all files.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

// used is Used with mu held.
func (f *FS) used() int64 {
	var n int64
	for _, d := range f.dirs {
		for _, i := range d.cache {
			n += i.blocks()
		}
	}
	return n
}

// Kill ends the process: its files are closed and its locks released, and what
// it wrote stays in the page cache. If the power was cut, it was the process
// that ended there instead.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = false
	f.end()
}

// end is Kill with mu held.
func (f *FS) end() {
	f.process++
	f.cutIn, f.failIn = 0, 0
	for _, d := range f.dirs {
		d.locked = false
	}
}

// Restart cuts the power, if it is not cut yet, and brings the machine back
// with what has survived.
func (f *FS) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
	f.dead = false
	for _, path := range slices.Sorted(maps.Keys(f.dirs)) {
		d := f.dirs[path]
		for _, c := range d.pending {
			if f.rng.IntN(2) == 0 {
				c.apply(d.disk)
			}
		}
		d.pending = nil
		stale := f.stale()
		settled := map[*inode]bool{}
		for _, name := range slices.Sorted(maps.Keys(d.disk)) {
			if i := d.disk[name]; !settled[i] {
				settled[i] = true
				i.lose(f.rng, stale)
			}
		}
		d.cache = maps.Clone(d.disk)
	}
}

// stale is the deleted file whose bytes show in blocks that nobody wrote; nil
// more often than not.
func (f *FS) stale() *inode {
	if len(f.deceased) == 0 || f.rng.IntN(3) > 0 {
		return nil
	}
	return f.deceased[f.rng.IntN(len(f.deceased))]
}

// step counts a changing operation. The one that the power cut falls into
// fails, and may have happened or not.
func (f *FS) step() (happens bool, err error) {
	if f.dead {
		return false, ErrCut
	}
	f.steps++
	if f.cutIn == 0 {
		return true, nil
	}
	if f.cutIn--; f.cutIn > 0 {
		return true, nil
	}
	f.dead = true
	return f.rng.IntN(2) == 0, ErrCut
}

// syncFails reports whether this sync is the one to fail.
func (f *FS) syncFails() bool {
	if f.failIn == 0 {
		return false
	}
	f.failIn--
	return f.failIn == 0
}

// OpenDir implements journal.FS. The directory itself is always durable.
func (f *FS) OpenDir(path string) (journal.Dir, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrCut
	}
	d := f.dirs[path]
	if d == nil {
		d = &directory{disk: map[string]*inode{}, cache: map[string]*inode{}}
		f.dirs[path] = d
	}
	if d.locked {
		return nil, fmt.Errorf("%s: %w", path, journal.ErrLocked)
	}
	d.locked = true
	return &dirHandle{handle{fs: f, process: f.process}, d}, nil
}

// handle is what belongs to one process and can be closed.
type handle struct {
	fs      *FS
	process int
	closed  bool
}

// usable is an error when h can no longer be used. FS.mu is held.
func (h *handle) usable() error {
	switch {
	case h.fs.dead:
		return ErrCut
	case h.closed || h.process != h.fs.process:
		return os.ErrClosed
	}
	return nil
}

// begin is usable and then a step.
func (h *handle) begin() (happens bool, err error) {
	if err := h.usable(); err != nil {
		return false, err
	}
	return h.fs.step()
}

// dirHandle implements journal.Dir.
type dirHandle struct {
	handle
	dir *directory
}

// change does c, now in the cache and perhaps later on disk.
func (d *dirHandle) change(c change) error {
	happens, err := d.begin()
	if happens {
		if c.from != "" && c.to == "" {
			d.fs.deceased = append(d.fs.deceased, d.dir.cache[c.from])
			if len(d.fs.deceased) > maxDeceased {
				d.fs.deceased = d.fs.deceased[1:]
			}
		}
		c.apply(d.dir.cache)
		d.dir.pending = append(d.dir.pending, c)
	}
	return err
}

// Open implements journal.Dir.
func (d *dirHandle) Open(name string, flag int) (journal.File, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if err := d.usable(); err != nil {
		return nil, err
	}
	i := d.dir.cache[name]
	switch {
	case i == nil && flag&os.O_CREATE == 0:
		return nil, fmt.Errorf("open %s: %w", name, os.ErrNotExist)
	case i != nil && flag&os.O_EXCL != 0:
		return nil, fmt.Errorf("open %s: %w", name, os.ErrExist)
	case i == nil:
		i = newInode()
		if err := d.change(change{to: name, file: i}); err != nil {
			return nil, err
		}
	case flag&os.O_TRUNC != 0:
		happens, err := d.begin()
		if happens {
			i.truncate(0)
		}
		if err != nil {
			return nil, err
		}
	}
	return &fileHandle{handle{fs: d.fs, process: d.process}, i}, nil
}

// Rename implements journal.Dir.
func (d *dirHandle) Rename(from, to string) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	i := d.dir.cache[from]
	if i == nil && d.usable() == nil {
		return fmt.Errorf("rename %s: %w", from, os.ErrNotExist)
	}
	return d.change(change{from: from, to: to, file: i})
}

// Remove implements journal.Dir.
func (d *dirHandle) Remove(name string) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.dir.cache[name] == nil && d.usable() == nil {
		return fmt.Errorf("remove %s: %w", name, os.ErrNotExist)
	}
	return d.change(change{from: name})
}

// Names implements journal.Dir.
func (d *dirHandle) Names() ([]string, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if err := d.usable(); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.dir.cache)), nil
}

// Sync implements journal.Dir. After a failure what was pending still is.
func (d *dirHandle) Sync() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	happens, err := d.begin()
	if happens && d.fs.syncFails() {
		return syscall.EIO
	}
	if happens {
		d.dir.disk = maps.Clone(d.dir.cache)
		d.dir.pending = nil
	}
	return err
}

// Close implements journal.Dir.
func (d *dirHandle) Close() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	d.closed, d.dir.locked = true, false
	return nil
}
