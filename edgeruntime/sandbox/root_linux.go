package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// What package syscall has no names for, of open(2), open_tree(2) and
// move_mount(2); the calls have the same numbers on every architecture.
const (
	oPath          = 0o10000000
	sysOpenTree    = 428
	openTreeClone  = 1
	sysMoveMount   = 429
	moveMountFlags = 4 | 16 // MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS
)

// bytesPerInode and inodesAtLeast bound how many files scratch space has: each
// costs memory that its size does not count.
const (
	bytesPerInode = 4096
	inodesAtLeast = 1024
)

// devices are the files of /dev that a process needs.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// tree is a file or folder of the machine, or of the scratch space, that is to
// be seen in the new root. It is held by a number, and no path leads to it.
type tree struct {
	fd     int
	target string
	folder bool
	// writable is whether it is scratch space.
	writable bool
}

// newRoot replaces the root of this mount namespace. A bounded tmpfs, mounted
// over the image's folder where only this process sees it, holds
//
//	upper, work   what is written to the root, or made for mounts
//	root          the overlay of upper over the image: the new root
//	tmp, shm, …   the scratch folders
//	proc          the processes of the sandbox
//
// What is to be seen of the machine is taken first, and put into the new root
// when the old one is gone: no link that the image has at a target can lead out
// of it. /proc comes last, as it has links to what this process has open.
func (s *setup) newRoot() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	sources := map[string]string{}
	for _, name := range devices {
		sources["/dev/"+name] = "/dev/" + name
	}
	spaces := map[string]string{"/tmp": "tmp", "/dev/shm": "shm"}
	for i, m := range s.Mounts {
		if m.Source == "" {
			spaces[filepath.Clean(m.Target)] = "space" + strconv.Itoa(i)
			continue
		}
		sources[filepath.Clean(m.Target)] = m.Source
	}
	trees, err := take(sources, false)
	if err != nil {
		return err
	}
	if err := s.overlay(slices.Collect(maps.Values(spaces))); err != nil {
		return err
	}
	scratch, err := take(spaces, true)
	if err != nil {
		return err
	}
	proc, err := take(map[string]string{"/proc": "proc"}, true)
	if err != nil {
		return err
	}
	if err := pivot("root"); err != nil {
		return err
	}
	if err := fill(slices.Concat(scratch, trees, proc)); err != nil {
		return err
	}
	if !s.Writable {
		return remountReadOnly("/")
	}
	return nil
}

// take takes files and folders by where they are to be seen, outer ones first.
func take(sources map[string]string, writable bool) ([]tree, error) {
	var trees []tree
	for _, target := range slices.Sorted(maps.Keys(sources)) {
		source, err := syscall.BytePtrFromString(sources[target])
		if err != nil {
			return nil, err
		}
		const here, flags = -100, openTreeClone | syscall.O_CLOEXEC // AT_FDCWD
		cwd := here
		fd, _, errno := syscall.Syscall(sysOpenTree, uintptr(cwd), uintptr(unsafe.Pointer(source)), flags)
		if errno != 0 {
			return nil, fmt.Errorf("open %s: %w", sources[target], errno)
		}
		var info syscall.Stat_t
		if err := syscall.Fstat(int(fd), &info); err != nil {
			return nil, fmt.Errorf("open %s: %w", sources[target], err)
		}
		trees = append(trees, tree{fd: int(fd), target: target, folder: info.Mode&syscall.S_IFMT == syscall.S_IFDIR, writable: writable})
	}
	return trees, nil
}

// pivot makes a mount point the root, and lets go of the old one.
func pivot(dir string) error {
	old, err := syscall.Open("/", oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the old root: %w", err)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	// The old root is put over the new one, so that no folder is needed for it.
	if err := syscall.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := errors.Join(syscall.Fchdir(old), syscall.Close(old)); err != nil {
		return fmt.Errorf("enter the old root: %w", err)
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	return os.Chdir("/")
}

// overlay mounts the scratch space over the image's folder, with the folders
// that processes write to and the new root within it, and makes the scratch
// space the working folder.
func (s *setup) overlay(spaces []string) error {
	image, err := syscall.Open(s.Root, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Root, err)
	}
	defer func() { _ = syscall.Close(image) }()
	inodes := s.Scratch/bytesPerInode + inodesAtLeast
	options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0755", s.Scratch, inodes)
	if err := syscall.Mount("scratch", s.Root, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount scratch space: %w", err)
	}
	if err := os.Chdir(s.Root); err != nil {
		return err
	}
	for _, dir := range append([]string{"upper", "work", "root", "proc"}, spaces...) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range spaces {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	// The number of the image's folder stands for its path, which may have a
	// character in it that means something in options.
	options = "lowerdir=/proc/self/fd/" + strconv.Itoa(image) + ",upperdir=upper,workdir=work"
	if s.UserNS {
		options += ",userxattr"
	}
	if err := syscall.Mount("root", "root", "overlay", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	// Where the machine's own cannot be seen any more, a user namespace may not
	// mount this one.
	const quiet = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount("proc", "proc", "proc", quiet, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// fill puts into the new root what a process expects there.
func fill(trees []tree) error {
	if err := at("/dev", true); err != nil {
		return err
	}
	if err := syscall.Mount("dev", "/dev", "tmpfs", syscall.MS_NOSUID|syscall.MS_NOEXEC, "size=64k,nr_inodes=64,mode=0755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return err
		}
	}
	for _, t := range trees {
		if err := t.show(); err != nil {
			return fmt.Errorf("mount %s: %w", t.target, err)
		}
	}
	if err := syscall.Mount("", "/dev", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("protect /dev: %w", err)
	}
	return nil
}

// show puts the tree at its target, read-only unless it is scratch space or a
// device, and lets go of it.
func (t tree) show() error {
	if err := at(t.target, t.folder); err != nil {
		return err
	}
	var empty byte
	target, err := syscall.BytePtrFromString(t.target)
	if err != nil {
		return err
	}
	_, _, errno := syscall.Syscall6(sysMoveMount, uintptr(t.fd), uintptr(unsafe.Pointer(&empty)), 0, uintptr(unsafe.Pointer(target)), moveMountFlags, 0)
	if errno != 0 {
		return errno
	}
	if err := syscall.Close(t.fd); err != nil {
		return err
	}
	if t.writable || strings.HasPrefix(t.target, "/dev/") {
		return nil
	}
	return remountReadOnly(t.target)
}

// at makes the folder or the empty file at an absolute path of the new root
// unless something is there.
func at(target string, folder bool) error {
	dir := target
	if !folder {
		dir = filepath.Dir(target)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if folder {
		return nil
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// remountReadOnly makes the mount at target read-only, with what it has of
// other bounds: in a user namespace those may not be taken away.
func remountReadOnly(target string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(target, &st); err != nil {
		return err
	}
	flags := uintptr(st.Flags)&syscall.MS_NOEXEC | syscall.MS_REMOUNT | syscall.MS_BIND | syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV
	if err := syscall.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}
