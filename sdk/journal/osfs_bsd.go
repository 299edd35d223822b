//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package journal

import (
	"errors"
	"syscall"
)

// syncData writes the data of fd to disk. On macOS this reaches the drive, not
// the medium: the platform is for development only.
func syncData(fd int) error { return syscall.Fsync(fd) }

// allocate is not available: segments grow as they are written.
func allocate(int, int64) error { return errors.ErrUnsupported }
