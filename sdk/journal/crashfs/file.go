package crashfs

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
)

// inode is a file whatever its name: on disk for certain, as processes see it,
// and what was written in between.
type inode struct {
	disk, cache []byte
	sizes       []int            // since the last sync
	versions    map[int][][]byte // of each sector written since the last sync, oldest first
	synced      map[int]bool     // sectors that were ever synced
}

// newInode is an empty file.
func newInode() *inode {
	return &inode{versions: map[int][][]byte{}, synced: map[int]bool{}}
}

// blocks is the size of the blocks of i, which has no holes.
func (i *inode) blocks() int64 {
	return int64(len(i.cache)+blockSize-1) / blockSize * blockSize
}

// write changes the cache from at on, which it extends if need be.
func (i *inode) write(b []byte, at int) {
	if at+len(b) > len(i.cache) {
		i.resize(at + len(b))
	}
	copy(i.cache[at:], b)
	for s := at / sectorSize; s*sectorSize < at+len(b); s++ {
		i.versions[s] = append(i.versions[s], sector(i.cache, s))
	}
}

// resize changes the size of the cache, with zeros in what is new.
func (i *inode) resize(size int) {
	for len(i.cache) < size {
		i.cache = append(i.cache, make([]byte, size-len(i.cache))...)
	}
	i.cache = i.cache[:size:size]
	i.sizes = append(i.sizes, size)
}

// truncate cuts the file; what was behind the cut is zero from now on.
func (i *inode) truncate(size int) {
	old := max(len(i.cache), len(i.disk))
	i.resize(size)
	for s := size / sectorSize; s*sectorSize < old; s++ {
		i.versions[s] = append(i.versions[s], sector(i.cache, s))
	}
}

// sync makes durable what was written since the last sync, and nothing else:
// what a failed one dropped stays dropped.
func (i *inode) sync() {
	size := len(i.disk)
	if len(i.sizes) > 0 {
		size = len(i.cache)
	}
	for s := range i.versions {
		if s*sectorSize < len(i.cache) {
			size = max(size, min((s+1)*sectorSize, len(i.cache)))
		}
	}
	disk := i.disk[:min(size, len(i.disk))]
	disk = append(disk, make([]byte, size-len(disk))...)
	for s := range i.versions {
		if s*sectorSize < size {
			copy(disk[s*sectorSize:], sector(i.cache, s))
		}
	}
	i.settle(disk)
}

// settle makes disk the contents for certain, with nothing left to be written.
func (i *inode) settle(disk []byte) {
	i.disk = disk
	for s := range i.versions {
		i.synced[s] = true
	}
	clear(i.versions)
	i.sizes = nil
}

// fail is a sync that the disk refused: the kernel calls the pages clean, and
// keeps some of them and reads others from the disk again.
func (i *inode) fail(rng *rand.Rand) {
	seen := i.cache
	i.lose(rng, nil)
	if rng.IntN(2) == 0 {
		i.cache = seen
	}
}

// lose settles what is on disk when the power goes. Sectors that were never
// synced may show those of stale.
func (i *inode) lose(rng *rand.Rand, stale *inode) {
	size := len(i.disk)
	if n := rng.IntN(len(i.sizes) + 1); n > 0 {
		size = i.sizes[n-1]
	}
	after := make([]byte, size)
	copy(after, i.disk)
	for _, s := range slices.Sorted(maps.Keys(i.versions)) {
		if s*sectorSize < size {
			copy(after[s*sectorSize:], survivor(rng, append([][]byte{sector(i.disk, s)}, i.versions[s]...)))
		}
	}
	if stale != nil {
		for s := 0; s*sectorSize < size; s++ {
			if _, written := i.versions[s]; !i.synced[s] && (!written || rng.IntN(4) == 0) {
				copy(after[s*sectorSize:], sector(stale.cache, s))
			}
		}
	}
	i.settle(after)
	i.cache = slices.Clone(after)
	for s := 0; s*sectorSize < size; s++ {
		i.synced[s] = true // What a cut has settled does not change with the next.
	}
}

// survivor is what a sector holds after a cut that had these versions, of
// which the first was synced and the last is the newest.
func survivor(rng *rand.Rand, versions [][]byte) []byte {
	newest := versions[len(versions)-1]
	other := versions[rng.IntN(len(versions))]
	switch rng.IntN(4) {
	case 0:
		return versions[0]
	case 1:
		return newest
	case 2:
		return other
	}
	torn := slices.Clone(newest)
	from, to := 0, sectorSize // Tearing what is equal would change nothing.
	for from < to && torn[from] == other[from] {
		from++
	}
	for to > from && torn[to-1] == other[to-1] {
		to--
	}
	cut := from + rng.IntN(to-from+1)
	if rng.IntN(2) == 0 {
		copy(torn[:cut], other[:cut])
	} else {
		copy(torn[cut:], other[cut:])
	}
	return torn
}

// sector is a copy of sector s of b, with zeros behind the end.
func sector(b []byte, s int) []byte {
	out := make([]byte, sectorSize)
	if at := s * sectorSize; at < len(b) {
		copy(out, b[at:])
	}
	return out
}

// fileHandle implements journal.File.
type fileHandle struct {
	handle
	inode *inode
}

// grow is the size that the file may get when size is wanted, and an error if
// that is less.
func (h *fileHandle) grow(size int64) (int64, error) {
	blocks := h.inode.blocks()
	if h.fs.capacity == 0 || size <= blocks {
		return size, nil
	}
	free := max(0, h.fs.capacity-h.fs.used()) / blockSize * blockSize
	if size <= blocks+free {
		return size, nil
	}
	return blocks + free, syscall.ENOSPC
}

// ReadAt implements io.ReaderAt.
func (h *fileHandle) ReadAt(b []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.usable(); err != nil {
		return 0, err
	}
	if at >= int64(len(h.inode.cache)) {
		return 0, io.EOF
	}
	n := copy(b, h.inode.cache[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. On a full disk it writes what goes in.
func (h *fileHandle) WriteAt(b []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	happens, err := h.begin()
	if !happens {
		return 0, err
	}
	size, full := h.grow(at + int64(len(b)))
	b = b[:max(0, min(int64(len(b)), size-at))]
	if len(b) > 0 {
		h.inode.write(b, int(at))
	}
	if err = errors.Join(err, full); err != nil {
		return len(b), err
	}
	return len(b), nil
}

// Size implements journal.File.
func (h *fileHandle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.usable(); err != nil {
		return 0, err
	}
	return int64(len(h.inode.cache)), nil
}

// Sync implements journal.File.
func (h *fileHandle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	happens, err := h.begin()
	switch {
	case happens && h.fs.syncFails():
		h.inode.fail(h.fs.rng)
		return syscall.EIO
	case happens:
		h.inode.sync()
	}
	return err
}

// Truncate implements journal.File.
func (h *fileHandle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	happens, err := h.begin()
	if happens {
		h.inode.truncate(int(size))
	}
	return err
}

// Allocate implements journal.File.
func (h *fileHandle) Allocate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.noAllocate {
		return errors.ErrUnsupported
	}
	happens, err := h.begin()
	if happens && size > int64(len(h.inode.cache)) {
		if _, full := h.grow(size); full != nil {
			return full
		}
		h.inode.resize(int(size))
	}
	return err
}

// Close implements journal.File.
func (h *fileHandle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.usable(); err != nil {
		return err
	}
	h.closed = true
	return nil
}
