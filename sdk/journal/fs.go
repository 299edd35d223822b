package journal

import "io"

// FS is the file system under a journal. The default is the operating
// system's; crashfs is one that loses power.
type FS interface {
	// OpenDir opens the directory path for one journal, making it durably if it
	// is missing, and holds an exclusive lock on it until Close. A held lock is
	// an error that wraps [ErrLocked].
	OpenDir(path string) (Dir, error)
}

// Dir is a locked directory. Names are file names without any path.
type Dir interface {
	io.Closer
	// Open opens a file for reading and writing. flag is 0 or os.O_CREATE with
	// os.O_EXCL or os.O_TRUNC.
	Open(name string, flag int) (File, error)
	// Rename replaces the file to, if there is one.
	Rename(from, to string) error
	Remove(name string) error
	// Names lists the files in any order.
	Names() ([]string, error)
	// Sync makes the creations, renames and removals so far durable.
	Sync() error
}

// File is an open file. A ReadAt that meets a concurrent Close returns an error
// that wraps os.ErrClosed.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Sync makes the contents and the size durable (fdatasync).
	Sync() error
	Truncate(size int64) error
	// Allocate reserves blocks for the first size bytes and extends the file to
	// them with zeros. Where that is not possible the error wraps
	// errors.ErrUnsupported and the file is unchanged.
	Allocate(size int64) error
}
