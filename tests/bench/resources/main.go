// Command resources measures the resource path of the platform beside
// PocketBase, the smallest program that offers the same: objects in SQLite over
// HTTP and JSON, with filters and a stream of changes. Both are the real
// programs on the same machine, one after the other in each of some rounds,
// loaded by the same clients, which take their share of the processors.
//
// They are not asked for the same. Ours answers a write when it is on the disk,
// checks the credentials and permissions of every call, validates, indexes what
// lists filter by and search, and keeps the change for its watchers. PocketBase's
// SQLite runs with synchronous=NORMAL, so that a power cut takes the last answers
// back, has one index, and its rules let everybody in. It is measured a second
// time with synchronous=FULL and the same indexes, still letting everybody in.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"selvedge.dev/tests/process"
)

// settings are the flags.
type settings struct {
	program, peer, database string
	objects, rounds         int
	watchers, changes       int
	duration, limit         time.Duration
}

// main runs the benchmark.
func main() {
	var s settings
	flag.StringVar(&s.program, "program", "", "the selvedge program to measure; built from the sources by default")
	flag.StringVar(&s.peer, "peer", "", "the PocketBase program; built from tests/bench/peer by default, none to leave it out")
	flag.StringVar(&s.database, "database", "", "connection string of an empty PostgreSQL database, to measure the platform on that too")
	flag.IntVar(&s.objects, "objects", 1_000_000, "how many objects there are before the load")
	flag.IntVar(&s.rounds, "rounds", 3, "how often each server is measured")
	flag.IntVar(&s.watchers, "watchers", 1000, "how many streams the changes go to")
	flag.IntVar(&s.changes, "changes", 160, "how many changes go to them")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "how long each load runs")
	flag.DurationVar(&s.limit, "limit", 2*time.Minute, "how long one measurement may take")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "resources:", err)
		os.Exit(1)
	}
}

// run builds and starts the servers, and measures them by turns.
func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "selvedge-resources-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of value
	if s.program == "" {
		if s.program, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
	}
	if s.peer == "" {
		if s.peer, err = buildPeer(ctx, dir); err != nil {
			return err
		}
	}
	var targets []*target
	for _, x := range s.servers() {
		begin := time.Now()
		t, stop, err := x.start(ctx, x.program, filepath.Join(dir, x.name), s.objects)
		if err != nil {
			return err
		}
		defer func() { _ = stop() }() // it was measured
		fmt.Printf("%s has %d objects after %v\n", t.name, s.objects, time.Since(begin).Round(time.Second))
		targets = append(targets, t)
	}
	all := map[string]map[string][]figure{}
	for round := range s.rounds {
		for _, t := range targets {
			fmt.Printf("round %d of %d, %s, load average before %s\n", round+1, s.rounds, t.name, load())
			if err := measure(ctx, s, t, round, func(what string, f figure) {
				if all[what] == nil {
					all[what] = map[string][]figure{}
				}
				all[what][t.name] = append(all[what][t.name], f)
				fmt.Printf("  %-28s %s\n", what, f)
			}); err != nil {
				return err
			}
		}
	}
	report(s, targets, all)
	return nil
}

// starter starts a server on a new folder, with so many objects.
type starter func(ctx context.Context, program, dir string, objects int) (t *target, stop func() error, err error)

// server is a server that is measured.
type server struct {
	name, program string
	start         starter
}

// servers are those that are measured, ours first.
func (s settings) servers() []server {
	all := []server{{"sqlite", s.program, startOurs}}
	if s.database != "" {
		all = append(all, server{"postgres", s.program, startOnPostgres(s.database)})
	}
	if s.peer != "none" {
		all = append(all, server{"peer", s.peer, asItComes.start}, server{"peer-durable", s.peer, likeOurs.start})
	}
	return all
}

// buildPeer builds PocketBase.
func buildPeer(ctx context.Context, dir string) (string, error) {
	root, err := process.Root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "pocketbase")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, ".")
	cmd.Dir = filepath.Join(root, "tests", "bench", "peer")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building PocketBase: %w\n%s", err, text)
	}
	return out, nil
}

// The figures, in the order of the report.
const (
	figureCreates = "creates/s"
	figureGets    = "gets/s"
	figureLists   = "lists of 100/s"
	figureFanOut  = "deliveries/s"
)

// measure takes the figures of one server in one round.
func measure(ctx context.Context, s settings, t *target, round int, done func(what string, f figure)) error {
	bounded := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, s.duration+s.limit)
		defer cancel()
		return f(ctx)
	}
	err := bounded(func(ctx context.Context) error {
		c, g, err := creates(ctx, t, fmt.Sprintf("cr%02d", round), s.duration)
		if err == nil {
			done(figureCreates, c)
			done(figureGets, g)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := bounded(func(ctx context.Context) error {
		f, err := lists(ctx, t, s.duration)
		if err == nil {
			done(figureLists, f)
		}
		return err
	}); err != nil {
		return err
	}
	return bounded(func(ctx context.Context) error {
		f, err := fanOut(ctx, t, fmt.Sprintf("wa%02d", round), s.watchers, s.changes)
		if err == nil {
			done(figureFanOut, f)
		}
		return err
	})
}

// String is a figure with its latencies.
func (f figure) String() string {
	return fmt.Sprintf("%8.0f/s  p50 %v  p99 %v", f.rate, short(f.quantile(.5)), short(f.quantile(.99)))
}

// short is a duration to three digits or so.
func short(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}

// load is the machine's load average of the last minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

// report prints the medians of the rounds as a table, with their ratios to the
// first server's. The latencies are those of the round with the median rate.
func report(s settings, targets []*target, all map[string]map[string][]figure) {
	fmt.Printf("\n%d processors, load average after %s; %d objects, %d clients, %d watchers; medians of %d rounds\n\n",
		runtime.NumCPU(), load(), s.objects, clients, s.watchers, s.rounds)
	head := "| figure |"
	for _, t := range targets {
		head += " " + t.name + " | p50 / p99 |"
	}
	fmt.Println(head + "\n|" + strings.Repeat("---|", 2*len(targets)+1))
	for _, what := range []string{figureCreates, figureGets, figureLists, figureFanOut} {
		row := "| " + what + " |"
		ours := median(all[what][targets[0].name]).rate
		for _, t := range targets {
			f := median(all[what][t.name])
			row += fmt.Sprintf(" %.0f (%.2f) | %v / %v |", f.rate, f.rate/ours, short(f.quantile(.5)), short(f.quantile(.99)))
		}
		fmt.Println(row)
	}
}

// median is the figure with the median rate.
func median(all []figure) figure {
	all = slices.SortedFunc(slices.Values(all), func(a, b figure) int { return cmp.Compare(a.rate, b.rate) })
	return all[len(all)/2]
}
