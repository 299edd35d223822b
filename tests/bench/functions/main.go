// Command functions measures functions on one machine: how long it takes from
// `func deploy` to the first reply, from nothing to a reply of a function that was
// scaled to zero, and what a warm request costs; how many events a second go
// through the broker to a function and back; and the memory of the platform without
// functions, and of an instance that waits.
//
// With -kubeconfig it measures a cluster with Knative beside it, in turns, with
// the same func and the same function, and prints how many times as good ours is.
// It is to be run as root on the cluster's one node, for the memory of its programs,
// and where the cluster's addresses are reachable; -resolve says where the hosts are
// that its routes and brokers name.
//
// Memory of a platform is the proportional set size: pages that several processes
// have are shared out among them. That of an instance that waits are the pages that
// nobody else has, with six of them running: of the function, and on a cluster of all
// processes of its pod and what holds them. What the platform notes of an instance in
// its own processes is not in it.
//
// Warm requests are measured while the processes of the other are stopped, some
// seconds at a time: what a cluster does while nobody asks it takes a part of two
// processors, and is not ours. With -beside it goes on meanwhile.
//
// What is measured is printed as it comes, and in a table at the end. Every wait is
// bounded and says what it waited for; what cannot be measured is named, and the rest
// is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"selvedge.dev/tests/process"
)

// options are the command line.
type options struct {
	program, kubeconfig, registry, host, memory string
	resolve                                     map[string]string
	rounds, requests, events, colds             int
	limit                                       time.Duration
	beside                                      bool
}

// main runs the measurements.
func main() {
	o := options{resolve: map[string]string{}}
	flag.StringVar(&o.program, "program", "", "the selvedge program to measure; built from the sources by default")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "the `file` of a cluster with Knative to compare with")
	flag.StringVar(&o.registry, "registry", "", "where images for that cluster go")
	flag.StringVar(&o.host, "host", "127.0.0.1", "the address of this machine, as that cluster sees it")
	flag.StringVar(&o.memory, "memory", "", "names of the programs, separated by commas, whose memory that cluster takes")
	flag.Func("resolve", "`SUFFIX=ADDRESS` of hosts; may be repeated", func(s string) error {
		suffix, address, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want SUFFIX=ADDRESS")
		}
		o.resolve[suffix] = address
		return nil
	})
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured, in turns")
	flag.IntVar(&o.requests, "requests", 2000, "warm requests a round")
	flag.IntVar(&o.events, "events", 2000, "events a round")
	flag.IntVar(&o.colds, "colds", 4, "cold starts a round")
	flag.BoolVar(&o.beside, "beside", false, "leave the other one running during warm requests too")
	flag.DurationVar(&o.limit, "limit", 20*time.Minute, "how long all may take; what was measured until then is printed")
	flag.Parse()
	if o.kubeconfig != "" && o.memory == "" {
		fmt.Fprintln(os.Stderr, "functions: -kubeconfig without -memory: whose memory is that cluster's")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("it is not done after %v, its -limit", o.limit))
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "functions:", err)
		os.Exit(1)
	}
}

// run does the measurements.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "selvedge-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.program == "" {
		if o.program, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
	}
	tools := filepath.Join(dir, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		return err
	}
	if _, err := process.BuildTool(ctx, tools, "tests/clients/func/tools", "func", "-ldflags", "-s -w -X knative.dev/func/pkg/version.Vers=v0.49.2"); err != nil {
		return err
	}
	p, err := process.Start(ctx, o.program, filepath.Join(dir, "data"), "--local-subscribers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	ours, err := newOurs(ctx, p, o, filepath.Join(dir, "ours"), tools)
	if err != nil {
		return err
	}
	targets := []*target{ours}
	if o.kubeconfig != "" {
		theirs, err := newTheirs(o, filepath.Join(dir, "theirs"), tools)
		if err != nil {
			return err
		}
		targets = append(targets, theirs)
	}
	f := newFigures(os.Stdout, targets)
	defer f.print()
	for _, t := range targets {
		f.say(t, "deploys its first function")
		if err := t.prepare(ctx); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for round := range o.rounds {
		for i := 0; i < len(targets) && ctx.Err() == nil; i++ {
			t := targets[(i+round)%len(targets)]
			f.say(t, "round %d of %d", round+1, o.rounds)
			t.measure(ctx, f, round)
		}
	}
	return errors.Join(f.err(), context.Cause(ctx))
}

// patience bounds what is waited for, but for a command, which may have to build.
const (
	patience = time.Minute
	building = 5 * time.Minute
)
