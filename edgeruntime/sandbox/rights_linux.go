package sandbox

import (
	"errors"
	"fmt"
	"math/bits"
	"syscall"
	"unsafe"
)

// What package syscall has no names for, of prctl(2), capset(2), getrlimit(2)
// and close_range(2).
const (
	prCapbsetDrop     = 24
	prSetNoNewPrivs   = 38
	prCapAmbient      = 47
	capAmbientClear   = 4
	capabilityVersion = 0x20080522
	rlimitNproc       = 6
	rlimitMemlock     = 8
	rlimitMsgqueue    = 12
	sysCloseRange     = 436
	closeRangeCloexec = 1 << 2
)

// stepCapabilities are what making the sandbox takes, by their numbers: to change
// owners and modes of what is made, to give up capabilities, to mount. What a
// user namespace gives is lost at the exec of the step unless it is asked for.
func stepCapabilities() []uintptr {
	const chown, dacOverride, dacReadSearch, fowner, setpcap, sysAdmin = 0, 1, 2, 3, 8, 21
	return []uintptr{chown, dacOverride, dacReadSearch, fowner, setpcap, sysAdmin}
}

// lastCapability bounds the loop that drops them; the kernel says where it ends,
// by EINVAL.
const lastCapability = 63

// lockedMemory bounds what a process may keep from being swapped, which is
// enough for a key.
const lockedMemory = 64 << 10

// limits sets the bounds of each process, and those of a control group that is
// not there as far as they have a limit that is like it.
func (s *setup) limits() error {
	set := map[int]int64{
		syscall.RLIMIT_CORE:   0,
		syscall.RLIMIT_NOFILE: s.Limits.Files,
		rlimitMemlock:         lockedMemory,
		rlimitMsgqueue:        0,
	}
	if s.BoundMemory {
		set[syscall.RLIMIT_DATA] = s.Limits.Memory
	}
	if s.BoundProcesses {
		set[rlimitNproc] = s.Limits.Processes
	}
	if !s.Namespaces {
		set[syscall.RLIMIT_FSIZE] = s.Scratch
	}
	for resource, bound := range set {
		var have syscall.Rlimit
		if err := syscall.Getrlimit(resource, &have); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
		// A bound that is tighter already stays: it cannot be raised by others
		// than root.
		limit := min(uint64(bound), have.Max)
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	return nil
}

// surrender gives up every right, for this thread, which runs the program:
// capabilities, the user, and whatever an exec might give.
func (s *setup) surrender() error {
	if err := prctl(prSetNoNewPrivs, 1, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if s.SetIDs || s.UserNS {
		for c := uintptr(0); c <= lastCapability; c++ {
			err := prctl(prCapbsetDrop, c, 0)
			if errors.Is(err, syscall.EINVAL) {
				break
			}
			if err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	if s.SetIDs {
		if err := setIDs(s.UID, s.GID); err != nil {
			return err
		}
	}
	if err := prctl(prCapAmbient, capAmbientClear, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	header := struct {
		version uint32
		pid     int32
	}{version: capabilityVersion}
	var none [2]struct{ effective, permitted, inheritable uint32 }
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0); errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	syscall.Umask(0o022)
	return nil
}

// setIDs makes this thread run as another user, in no group but one.
func setIDs(uid, gid uint32) error {
	if _, _, errno := syscall.RawSyscall(sysSetgroups, 0, 0, 0); errno != 0 {
		return fmt.Errorf("leave groups: %w", errno)
	}
	g, u := uintptr(gid), uintptr(uid)
	if _, _, errno := syscall.RawSyscall(sysSetresgid, g, g, g); errno != 0 {
		return fmt.Errorf("become group %d: %w", gid, errno)
	}
	if _, _, errno := syscall.RawSyscall(sysSetresuid, u, u, u); errno != 0 {
		return fmt.Errorf("become user %d: %w", uid, errno)
	}
	return nil
}

// closeOnExec makes every file but the three standard ones end with the exec,
// those too that this program was started with.
func closeOnExec() error {
	_, _, errno := syscall.RawSyscall(sysCloseRange, setupFile, ^uintptr(0)>>(bits.UintSize-32), closeRangeCloexec)
	if errno != 0 && errno != syscall.ENOSYS && errno != syscall.EINVAL { // before Linux 5.11
		return errno
	}
	return nil
}

// dieWithParent has the kernel kill this process when the thread that started
// it ends, which the Runner keeps until this process has ended. The kernel
// forgets that at a change of user, so it comes last.
func dieWithParent() error { return prctl(syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0) }

// prctl calls prctl(2) for this thread.
func prctl(option int, a, b uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, uintptr(option), a, b, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
