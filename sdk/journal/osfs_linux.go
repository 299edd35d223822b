package journal

import "syscall"

// syncData writes the data of fd, and the metadata needed to read it, to disk.
func syncData(fd int) error { return syscall.Fdatasync(fd) }

// allocate reserves the first size bytes of fd.
func allocate(fd int, size int64) error { return syscall.Fallocate(fd, 0, 0, size) }
