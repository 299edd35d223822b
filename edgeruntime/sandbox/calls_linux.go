package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// What package syscall has no names for, of seccomp(2) and BPF.
const (
	prSetSeccomp      = 22
	seccompModeFilter = 2
	seccompErrno      = 0x00050000
	seccompAllow      = 0x7fff0000
	bpfLoad           = 0x20 // BPF_LD | BPF_W | BPF_ABS
	bpfEqual          = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	bpfAtLeast        = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	bpfAnyBit         = 0x45 // BPF_JMP | BPF_JSET | BPF_K
	bpfReturn         = 0x06 // BPF_RET | BPF_K
	offsetNumber      = 0
	offsetArch        = 4
	offsetArgument    = 16
)

// newNamespaces are the flags of clone(2) and unshare(2) for namespaces: within
// one of users a process has every capability, and with them much more of the
// kernel to try its luck at.
const newNamespaces = syscall.CLONE_NEWNS | 0x02000000 | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
	syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET

// The calls that have the same number on every architecture.
const (
	callIOURingSetup    = 425
	callIOURingEnter    = 426
	callIOURingRegister = 427
	callFsopen          = 430
	callFsconfig        = 431
	callFsmount         = 432
	callFspick          = 433
	callClone3          = 435
	callMountSetattr    = 442
)

// refusedCalls are calls that no function needs, and that holes of the kernel
// were often behind: mounts and other namespaces, keys, programs and modules in
// the kernel, its measuring, and input and output by rings.
func refusedCalls() []uint32 {
	return append(refusedHere(),
		syscall.SYS_MOUNT, syscall.SYS_UMOUNT2, syscall.SYS_PIVOT_ROOT, sysOpenTree, sysMoveMount,
		callFsopen, callFsconfig, callFsmount, callFspick, callMountSetattr,
		syscall.SYS_ADD_KEY, syscall.SYS_REQUEST_KEY, syscall.SYS_KEYCTL,
		syscall.SYS_INIT_MODULE, syscall.SYS_DELETE_MODULE, syscall.SYS_KEXEC_LOAD, syscall.SYS_REBOOT,
		syscall.SYS_SWAPON, syscall.SYS_SWAPOFF, syscall.SYS_ACCT, syscall.SYS_QUOTACTL,
		syscall.SYS_PERF_EVENT_OPEN, callIOURingSetup, callIOURingEnter, callIOURingRegister,
	)
}

// filtersCalls reports whether the kernel and this program can refuse calls.
func filtersCalls() bool {
	_, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail")
	return err == nil && auditArch != 0
}

// instruction is one of a BPF program, as the kernel has it.
type instruction struct {
	code    uint16
	yes, no uint8
	k       uint32
}

// callFilter is the program that the kernel asks at every call: those of another
// architecture and the refused ones are errors, and so are clone and unshare for
// a new namespace. clone3, whose flags it cannot see, is one that there is not,
// so that libraries use clone.
func callFilter() []instruction {
	const denied, missing = seccompErrno | uint32(syscall.EPERM), seccompErrno | uint32(syscall.ENOSYS)
	p := []instruction{
		{bpfLoad, 0, 0, offsetArch},
		{bpfEqual, 1, 0, auditArch},
		{bpfReturn, 0, 0, missing},
		{bpfLoad, 0, 0, offsetNumber},
		{bpfAtLeast, 0, 1, 0x40000000}, // another way to call, with other numbers
		{bpfReturn, 0, 0, missing},
		{bpfEqual, 0, 1, callClone3},
		{bpfReturn, 0, 0, missing},
	}
	for _, number := range refusedCalls() {
		p = append(p, instruction{bpfEqual, 0, 1, number}, instruction{bpfReturn, 0, 0, denied})
	}
	low := uint32(offsetArgument)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big end first
		low += 4
	}
	return append(p,
		instruction{bpfEqual, 1, 0, syscall.SYS_CLONE},
		instruction{bpfEqual, 0, 3, syscall.SYS_UNSHARE},
		instruction{bpfLoad, 0, 0, low},
		instruction{bpfAnyBit, 0, 1, newNamespaces},
		instruction{bpfReturn, 0, 0, denied},
		instruction{bpfReturn, 0, 0, seccompAllow},
	)
}

// filterCalls puts this thread, and what it runs, under the filter for good.
func (s *setup) filterCalls() error {
	if !s.FilterCalls {
		return nil
	}
	filter := callFilter()
	program := struct {
		length uint16
		filter *instruction
	}{uint16(len(filter)), &filter[0]}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetSeccomp, seccompModeFilter, uintptr(unsafe.Pointer(&program)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("refuse calls: %w", errno)
	}
	return nil
}
