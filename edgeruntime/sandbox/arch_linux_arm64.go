package sandbox

import "syscall"

// auditArch is this architecture as the kernel names it to a filter.
const auditArch = 0xc00000b7

// The calls that make a thread another user's.
const (
	sysSetresuid = syscall.SYS_SETRESUID
	sysSetresgid = syscall.SYS_SETRESGID
	sysSetgroups = syscall.SYS_SETGROUPS
)

// refusedHere are refused calls whose numbers are of this architecture.
func refusedHere() []uint32 {
	const setns, finitModule, kexecFileLoad, bpf, userfaultfd, openByHandleAt = 268, 273, 294, 280, 282, 265
	return []uint32{setns, finitModule, kexecFileLoad, bpf, userfaultfd, openByHandleAt}
}
