package containerd

import "os"

// seccomp says which system calls are refused.
type seccomp struct {
	Default  string `json:"defaultAction"`
	Syscalls []call `json:"syscalls"`
}

// call is a rule about some of them.
type call struct {
	Names  []string   `json:"names"`
	Action string     `json:"action"`
	Errno  uint       `json:"errnoRet"`
	Args   []argument `json:"args,omitempty"`
}

// argument is a condition of a rule.
type argument struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

// The errors of refused calls: that they may not be, and that there are none such.
const (
	notAllowed = 1  // EPERM
	notThere   = 38 // ENOSYS
)

// refusedCalls are calls that no function needs, the same that package sandbox
// refuses.
var refusedCalls = []string{
	"mount", "umount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns",
	"add_key", "request_key", "keyctl", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "bpf", "perf_event_open", "userfaultfd", "open_by_handle_at",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
}

// namespaceFlags are those of clone and unshare for new namespaces.
var namespaceFlags = []uint64{0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000}

// refused is the filter of system calls. clone3, whose flags a filter cannot see,
// is one that there is not, so that libraries use clone.
func refused() *seccomp {
	s := &seccomp{Default: "SCMP_ACT_ALLOW", Syscalls: []call{
		{Names: refusedCalls, Action: "SCMP_ACT_ERRNO", Errno: notAllowed},
		{Names: []string{"clone3"}, Action: "SCMP_ACT_ERRNO", Errno: notThere},
	}}
	for _, flag := range namespaceFlags {
		s.Syscalls = append(s.Syscalls, call{
			Names: []string{"clone", "unshare"}, Action: "SCMP_ACT_ERRNO", Errno: notAllowed,
			Args: []argument{{Value: flag, ValueTwo: flag, Op: "SCMP_CMP_MASKED_EQ"}},
		})
	}
	return s
}

// swapIsCounted reports whether control groups of this machine bound swap.
func swapIsCounted() bool {
	for _, file := range []string{"/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"} {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}
