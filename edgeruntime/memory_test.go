package edgeruntime

import (
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"

	"selvedge.dev/sdk/journal"
)

// memory is a file system in memory with a bound that can be moved: a disk that
// is quick enough for a simulated week and can be full.
type memory struct {
	mu    sync.Mutex
	files map[string]*memoryFile
	// room is the bound of all files together; 0 is none.
	room int
	// broken is what every write fails with.
	broken error
}

// newMemory is an empty file system without a bound.
func newMemory() *memory { return &memory{files: map[string]*memoryFile{}} }

// limit sets the bound to what is used and more beyond it.
func (m *memory) limit(more int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room = m.used() + more
}

// fail makes every write fail with err; nil ends that.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

// unlimit takes the bound away.
func (m *memory) unlimit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room = 0
}

// used is the size of all files. m.mu is held.
func (m *memory) used() int {
	n := 0
	for _, f := range m.files {
		n += len(f.data)
	}
	return n
}

// OpenDir implements journal.FS.
func (m *memory) OpenDir(string) (journal.Dir, error) { return m, nil }

// Close implements journal.Dir.
func (m *memory) Close() error { return nil }

// Sync implements journal.Dir.
func (m *memory) Sync() error { return nil }

// Open implements journal.Dir.
func (m *memory) Open(name string, flag int) (journal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.files[name]
	switch {
	case ok && flag&os.O_EXCL != 0:
		return nil, os.ErrExist
	case !ok && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case !ok:
		f = &memoryFile{fs: m}
		m.files[name] = f
	case flag&os.O_TRUNC != 0:
		f.data = nil
	}
	return f, nil
}

// Rename implements journal.Dir.
func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

// Remove implements journal.Dir.
func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; !ok {
		return os.ErrNotExist
	}
	delete(m.files, name)
	return nil
}

// Names implements journal.Dir.
func (m *memory) Names() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.files)), nil
}

// memoryFile is a file, whatever its name is now.
type memoryFile struct {
	fs   *memory
	data []byte
}

// grow makes the file at least size bytes long. fs.mu is held.
func (f *memoryFile) grow(size int64) error {
	m := f.fs
	more := int(size) - len(f.data)
	switch {
	case m.broken != nil:
		return m.broken
	case more <= 0:
		return nil
	case m.room > 0 && m.used()+more > m.room:
		return syscall.ENOSPC
	}
	f.data = append(f.data, make([]byte, more)...)
	return nil
}

// ReadAt implements journal.File.
func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements journal.File.
func (f *memoryFile) WriteAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.grow(at + int64(len(p))); err != nil {
		return 0, err
	}
	return copy(f.data[at:], p), nil
}

// Allocate implements journal.File.
func (f *memoryFile) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.grow(size)
}

// Size implements journal.File.
func (f *memoryFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.data)), nil
}

// Truncate implements journal.File.
func (f *memoryFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if size > int64(len(f.data)) {
		return errors.ErrUnsupported
	}
	f.data = f.data[:size]
	return nil
}

// Sync implements journal.File.
func (f *memoryFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.broken
}

// Close implements journal.File.
func (f *memoryFile) Close() error { return nil }
