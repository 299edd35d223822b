//go:build linux && (arm || 386)

package sandbox

import "syscall"

// auditArch says that no calls are filtered on this architecture.
const auditArch = 0

// The calls that make a thread another user's, with numbers of 32 bits.
const (
	sysSetresuid = syscall.SYS_SETRESUID32
	sysSetresgid = syscall.SYS_SETRESGID32
	sysSetgroups = syscall.SYS_SETGROUPS32
)

// refusedHere is nothing, as nothing is refused.
func refusedHere() []uint32 { return nil }
