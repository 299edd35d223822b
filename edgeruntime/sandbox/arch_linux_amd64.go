package sandbox

import "syscall"

// auditArch is this architecture as the kernel names it to a filter.
const auditArch = 0xc000003e

// The calls that make a thread another user's.
const (
	sysSetresuid = syscall.SYS_SETRESUID
	sysSetresgid = syscall.SYS_SETRESGID
	sysSetgroups = syscall.SYS_SETGROUPS
)

// refusedHere are refused calls whose numbers are of this architecture.
func refusedHere() []uint32 {
	const setns, finitModule, kexecFileLoad, bpf, userfaultfd, openByHandleAt = 308, 313, 320, 321, 323, 304
	return []uint32{setns, finitModule, kexecFileLoad, bpf, userfaultfd, openByHandleAt}
}
