package sandbox

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"selvedge.dev/sdk/fault"
)

// Process is a program in a sandbox.
type Process struct {
	runner *Runner
	spec   Spec
	cmd    *exec.Cmd
	group  *cgroup
	// temp is the scratch folder without namespaces.
	temp string
	done chan struct{}

	mu sync.Mutex
	// because is why somebody here ended it, "" for nobody.
	because Reason
	// exit is how it ended, once done is closed.
	exit Exit
}

// PID is the number of the process on this machine.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process and all that it started have ended, and their
// output is written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for that and says how it ended.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Stop asks the process to end (SIGTERM), kills it when it has not ended after
// grace, and waits for it.
func (p *Process) Stop(grace time.Duration) Exit {
	p.end(Stopped)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err == nil {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return p.exit
		case <-timer.C:
		}
	}
	p.Kill()
	return p.Wait()
}

// Kill ends the process and all that it started, without waiting.
func (p *Process) Kill() {
	p.end(Killed)
	p.killTree()
}

// end notes why somebody here ends the process. What comes later and is harsher
// counts.
func (p *Process) end(because Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.because == "" || p.because == Stopped {
		p.because = because
	}
}

// killTree kills everything in the sandbox. With namespaces the end of the first
// process is the end of all; otherwise its group and control group are killed.
func (p *Process) killTree() {
	select {
	case <-p.done:
		return // the number may be another's by now
	default:
	}
	_ = p.cmd.Process.Kill() // an error says that it has ended
	if !p.runner.have.Namespaces {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		p.group.kill()
	}
}

// ended notes how the process ended, and removes what was made for it.
func (p *Process) ended(err error) {
	if p.cmd.Process != nil && !p.runner.have.Namespaces {
		// The number is not another's yet as long as a member of the group lives.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	p.group.kill()
	p.mu.Lock()
	p.exit = p.verdict(err)
	p.mu.Unlock()
	if err := p.group.remove(); err != nil {
		p.runner.logger.Warn("a control group is left", slog.String("name", p.spec.Name), slog.Any("error", err))
	}
	if p.temp != "" {
		if err := os.RemoveAll(p.temp); err != nil {
			p.runner.logger.Warn("a scratch folder is left", slog.String("name", p.spec.Name), slog.Any("error", err))
		}
	}
	p.runner.leave(p)
	close(p.done)
}

// verdict is how the process ended. A process that was out of memory may have
// ended by itself, after a child of its was killed: then it is its own exit.
func (p *Process) verdict(err error) Exit {
	state := p.cmd.ProcessState
	if state == nil {
		return Exit{Reason: Signaled, Code: -1}
	}
	e := Exit{Reason: Exited, Code: state.ExitCode()}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e = Exit{Reason: Signaled, Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
		if status.Signal() == syscall.SIGKILL && p.because == "" && p.group.outOfMemory() {
			e.Reason = OutOfMemory
		}
	}
	if p.because != "" {
		e.Reason = p.because
	}
	if err != nil && e == (Exit{Reason: Exited}) && !errors.Is(err, exec.ErrWaitDelay) {
		p.runner.logger.Warn("the output of a process was not written", slog.String("name", p.spec.Name), slog.Any("error", err))
	}
	return e
}

// ticksPerSecond is in what the kernel counts processor time in /proc, on every
// architecture that Go runs on.
const ticksPerSecond = 100

// Stats is what the process and what it started use now. Without control groups
// it is what the process uses alone. After the end it is a NotFound fault.
func (p *Process) Stats() (Stats, error) {
	select {
	case <-p.done:
		return Stats{}, &fault.Error{Op: "sandbox.Stats", Kind: fault.NotFound, Name: p.spec.Name, Reason: "PROCESS_ENDED", Err: errors.New("the process has ended")}
	default:
	}
	s := Stats{Memory: p.group.memory(), CPU: p.group.cpu(), Processes: p.group.processes()}
	if s.Memory > 0 && s.CPU > 0 && s.Processes > 0 {
		return s, nil
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), "stat"))
	if err != nil {
		return s, &fault.Error{Op: "sandbox.Stats", Kind: fault.NotFound, Name: p.spec.Name, Reason: "PROCESS_ENDED", Err: err}
	}
	own, err := parseStat(string(text))
	if err != nil {
		return s, err
	}
	s.Memory, s.CPU, s.Processes = max(s.Memory, own.Memory), max(s.CPU, own.CPU), max(s.Processes, own.Processes)
	return s, nil
}

// parseStat reads what a file /proc/N/stat says. The second field is a name in
// parentheses that may have anything in it.
func parseStat(text string) (Stats, error) {
	_, rest, ok := cutLast(text, ")")
	fields := strings.Fields(rest)
	const user, system, threads, resident = 11, 12, 17, 21 // after the name, from 0
	if !ok || len(fields) <= resident {
		return Stats{}, errors.New("/proc/N/stat is not as expected")
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64) // 0 for what is no number
		return n
	}
	return Stats{
		Memory:    number(resident) * int64(os.Getpagesize()),
		CPU:       time.Duration(number(user)+number(system)) * (time.Second / ticksPerSecond),
		Processes: number(threads),
	}, nil
}

// cutLast cuts s at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// scratchPoll is how often a scratch folder without a bound of its own is
// measured.
const scratchPoll = time.Second

// watchScratch ends the process when its scratch folder outgrows the bound.
func (p *Process) watchScratch() {
	ticker := time.NewTicker(scratchPoll)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
			if folderSize(p.temp) > p.spec.Scratch {
				p.end(ScratchFull)
				p.killTree()
			}
		}
	}
}

// folderSize is how many bytes the files in a folder take on disk.
func folderSize(dir string) int64 {
	var size int64
	// What cannot be seen is not counted; it is gone by now.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				size += st.Blocks * 512 // as stat(2) has it on every file system
			}
		}
		return nil
	})
	return size
}
