package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// OS is the operating system's file system, for what keeps files beside a
// journal.
func OS() FS { return osFS{} }

// osFS is the operating system's file system.
type osFS struct{}

// OpenDir implements FS. The lock is a flock on the directory itself.
func (osFS) OpenDir(path string) (Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
	if err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", path, ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return &osDir{path: path, file: f}, nil
}

// makeDir makes path and its missing parents, each synced into its parent.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		return nil
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osDir is a directory of the operating system, open for syncing and locked.
type osDir struct {
	path string
	file *os.File
}

// Open implements Dir.
func (d *osDir) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements Dir.
func (d *osDir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

// Remove implements Dir.
func (d *osDir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

// Names implements Dir.
func (d *osDir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Sync implements Dir.
func (d *osDir) Sync() error { return d.file.Sync() }

// Close implements Dir. Closing alone would not release the lock while a child
// process that was just forked still has the descriptor.
func (d *osDir) Close() error {
	err := control(d.file, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_UN) })
	return errors.Join(err, d.file.Close())
}

// osFile adds to os.File what the journal needs beyond it.
type osFile struct{ *os.File }

// Size implements File.
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync implements File.
func (f osFile) Sync() error {
	return os.NewSyscallError("fdatasync", control(f.File, syncData))
}

// Allocate implements File.
func (f osFile) Allocate(size int64) error {
	err := control(f.File, func(fd int) error { return allocate(fd, size) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("fallocate", err)
}

// control runs op on the descriptor of f, again for as long as a signal
// interrupts it, and keeps f from being closed meanwhile.
func control(f *os.File, op func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if opErr = op(int(fd)); !errors.Is(opErr, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, opErr)
}
