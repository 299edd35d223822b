// Command hostile is what runs in the sandboxes of the tests: each mode tries
// something, and prints what came of it.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// keep holds what mode alloc has, so that it stays.
var keep [][]byte

func main() {
	args := os.Args[2:]
	switch os.Args[1] {
	case "hello":
		host, _ := os.Hostname()
		wd, _ := os.Getwd()
		fmt.Printf("pid=%d uid=%d gid=%d host=%s dir=%s env=%s args=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), host, wd, strings.Join(os.Environ(), ","), strings.Join(args, ","))
		fmt.Fprintln(os.Stderr, "to stderr")
	case "exit":
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "read":
		for _, p := range args {
			if entries, err := os.ReadDir(p); err == nil {
				var names []string
				for _, e := range entries {
					names = append(names, e.Name())
				}
				fmt.Printf("%s: dir %s\n", p, strings.Join(names, " "))
				continue
			}
			text, err := os.ReadFile(p)
			fmt.Printf("%s: %q %v\n", p, string(text[:min(len(text), 2000)]), err)
		}
	case "write":
		for _, p := range args {
			err := os.WriteFile(p, []byte("x"), 0o644)
			fmt.Printf("%s: %v\n", p, err)
		}
	case "fill":
		f, err := os.Create(args[0])
		if err != nil {
			fmt.Println("create:", err)
			return
		}
		chunk, n := make([]byte, 1<<16), 0
		for {
			m, err := f.Write(chunk)
			n += m
			if err != nil {
				fmt.Println("wrote", n, err)
				return
			}
		}
	case "fillmany":
		for i := range 100 {
			err := os.WriteFile(fmt.Sprintf("%s/%d", os.Getenv("TMPDIR"), i), make([]byte, 1<<16), 0o600)
			if err != nil {
				fmt.Println(err)
			}
		}
		time.Sleep(time.Hour)
	case "inodes":
		for i := range 1 << 20 {
			f, err := os.Create(fmt.Sprintf("%s/%d", args[0], i))
			if err != nil {
				fmt.Println("made", i, err)
				return
			}
			f.Close()
		}
	case "alloc":
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			keep = append(keep, b)
		}
	case "forkbomb":
		n := 0
		for n < 2000 {
			cmd := exec.Command("/proc/self/exe", "sleep")
			if len(args) > 0 {
				cmd = exec.Command(args[0], "sleep")
			}
			if err := cmd.Start(); err != nil {
				fmt.Println("started", n, err)
				return
			}
			n++
		}
		fmt.Println("started", n, nil)
	case "tree":
		cmd := exec.Command("/proc/self/exe", "deaf")
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
		}
		time.Sleep(time.Hour)
	case "sleep":
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		fmt.Println("deaf")
		time.Sleep(time.Hour)
	case "polite":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		fmt.Println("bye")
		os.Exit(7)
	case "crash":
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		var p *int
		*p = 1
	case "spin":
		d, _ := time.ParseDuration(args[0])
		for end := time.Now().Add(d); time.Now().Before(end); {
		}
		var ru syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		fmt.Println(time.Duration(ru.Utime.Nano() + ru.Stime.Nano()))
	case "rights":
		rights(args)
	case "files":
		n := 0
		for {
			if _, err := os.Open("/dev/null"); err != nil {
				fmt.Println("opened", n, err)
				return
			}
			n++
		}
	case "echo":
		io.Copy(os.Stdout, os.Stdin)
	}
}

// rights tries what only the mighty may.
func rights(pids []string) {
	say := func(what string, err error) { fmt.Printf("%s: %v\n", what, err) }
	say("mount", syscall.Mount("x", "/tmp", "tmpfs", 0, ""))
	say("remount", syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_BIND, ""))
	say("umount", syscall.Unmount("/proc", syscall.MNT_DETACH))
	say("mknod", syscall.Mknod("/tmp/disk", syscall.S_IFBLK|0o666, 254<<8))
	say("chroot", syscall.Chroot("/tmp"))
	say("sethostname", syscall.Sethostname([]byte("x")))
	say("setuid", syscall.Setuid(0))
	say("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	say("unshare", syscall.Unshare(syscall.CLONE_NEWUSER))
	cmd := exec.Command("/proc/self/exe", "exit", "0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	say("clone", cmd.Run())
	for name, number := range map[string]uintptr{"io_uring": 425, "keyctl": syscall.SYS_KEYCTL, "fsopen": 430} {
		_, _, errno := syscall.Syscall(number, 0, 0, 0)
		say(name, errno)
	}
	_, _, errno := syscall.Syscall(435, 0, 0, 0)
	say("clone3", errno)
	say("threads", exec.Command("/proc/self/exe", "exit", "0").Run())
	say("reboot", syscall.Reboot(0x1234567))
	for _, pid := range pids {
		n, _ := strconv.Atoi(pid)
		say("kill", syscall.Kill(n, syscall.SIGKILL))
		say("ptrace", syscall.PtraceAttach(n))
		_, err := os.ReadFile("/proc/" + pid + "/environ")
		say("environ", err)
	}
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Groups") {
			fmt.Print(line)
		}
	}
}
