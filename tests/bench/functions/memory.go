package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// running is what /proc says of a process.
type running struct {
	parent  int
	program string
	// ours is whether this process started it, or one that it started.
	ours bool
}

// processes are those of this machine.
func processes() (map[int]running, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := map[int]running{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue // not that of a process
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // as above
		}
		program, _, _ := bytes.Cut(line, []byte{0})
		// The name in brackets may hold anything; the fields after it are a letter
		// and then numbers.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			continue
		}
		all[pid] = running{parent: parent, program: filepath.Base(string(program))}
	}
	for pid, p := range all {
		for up := p.parent; up > 1 && !p.ours; up = all[up].parent {
			p.ours = up == os.Getpid()
		}
		all[pid] = p
	}
	return all, nil
}

// memory is that of processes, which are chosen by the names of their programs and
// whether they are ours, which may have the same names: pages that several processes
// have are shared out among them.
func memory(of func(name string, ours bool) bool) (sum int64, err error) {
	pids, err := pidsOf(of)
	for _, pid := range pids {
		sum += pages(pid, "Pss:")
	}
	return sum, err
}

// pidsOf are the numbers of processes that are chosen like those of memory.
func pidsOf(of func(name string, ours bool) bool) (pids []int, err error) {
	all, err := processes()
	for pid, p := range all {
		if of(p.program, p.ours) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// memoryOfInstance is what an instance of a function has for itself, on average, and
// the processes that it has beside the function's: their parent, if that is one of the
// programs named, and its others.
func memoryOfInstance(ours bool, beside []string) (int64, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	sum, n := int64(0), int64(0)
	for function, p := range all {
		if p.program != program || p.ours != ours {
			continue
		}
		n++
		for pid, q := range all {
			if pid == function || slices.Contains(beside, all[p.parent].program) && (pid == p.parent || q.parent == p.parent) {
				sum += pages(pid, "Private_Clean:") + pages(pid, "Private_Dirty:")
			}
		}
	}
	if n == 0 {
		return 0, errors.New("no instance runs")
	}
	return sum / n, nil
}

// pages are bytes of the memory of a process, 0 when it has ended.
func pages(pid int, kind string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, kind); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
