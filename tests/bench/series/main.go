// Command series measures the series engine of the platform beside a stock
// VictoriaMetrics of the version that the engine has in it: the same data, both
// real programs on the same machine, loaded over HTTP by turns, in some rounds
// of which the medians count.
//
// They are not asked for the same. A sample that ours has answered for is on the
// disk; VictoriaMetrics keeps it in memory for up to five seconds. Ours checks
// the credentials of every call, finds the device of every event, and answers
// with Google's JSON, which has 118 bytes for a point where that of Prometheus
// has 29.
//
// Latencies are of two kinds. A first question is about windows that nobody asked
// about before, and VictoriaMetrics may not use its cache; a question again is
// one that was asked a step ago, as a dashboard does. Both must give the same
// answer, or the question does not count.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"selvedge.dev/tests/process"
)

// settings are the flags.
type settings struct {
	program, peer string
	rounds        int
	hosts         int
	span, events  time.Duration
	triggered     time.Duration
	days          int
	limit         time.Duration
}

// main runs the benchmark.
func main() {
	var s settings
	flag.StringVar(&s.program, "program", "", "the selvedge program to measure; built from the sources by default")
	flag.StringVar(&s.peer, "peer", "", "the victoria-metrics program; built from tests/bench/victoria by default")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each server is measured")
	flag.IntVar(&s.hosts, "hosts", 100, "how many hosts there are, with ten metrics each")
	flag.DurationVar(&s.span, "span", 48*time.Hour, "over how long the hosts have a sample every ten seconds, written as lines")
	flag.DurationVar(&s.events, "events", 8*time.Hour, "the same, written as events to the series")
	flag.DurationVar(&s.triggered, "triggered", time.Hour, "the same, written as events that triggers take to the series")
	flag.IntVar(&s.days, "days", 30, "over how many days some hosts have a sample every ten seconds")
	flag.DurationVar(&s.limit, "limit", 15*time.Minute, "how long it may take")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "series:", err)
		os.Exit(1)
	}
}

// bench is a run.
type bench struct {
	settings
	figures

	dir     string
	targets []*target
	// written is how many samples each server was given.
	written int
}

// run builds and starts the servers, and measures them by turns.
func run(ctx context.Context, s settings) (err error) {
	b := &bench{settings: s}
	if b.dir, err = os.MkdirTemp("", "selvedge-series-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }() // nothing of value
	if b.program == "" {
		if b.program, err = process.Build(ctx, b.dir, "local"); err != nil {
			return err
		}
	}
	if b.peer == "" {
		if b.peer, err = process.BuildVictoria(ctx, b.dir); err != nil {
			return err
		}
	}
	if err := b.install(); err != nil {
		return err
	}
	fmt.Printf("%d processors, load average before %s\n", runtime.NumCPU(), load())
	if err := b.start(ctx); err != nil {
		return err
	}
	defer b.stop()
	if err := register(ctx, b.targets[0], b.hosts); err != nil {
		return err
	}
	end := time.Now().Truncate(time.Hour).Add(-time.Hour)
	ten := 10 * time.Second
	cpu := dataset{name: "cpu", hosts: b.hosts, metrics: 10, step: ten}.ending(end, b.span)
	fleet := dataset{name: "fleet", hosts: b.hosts, metrics: 10, step: ten}.ending(end, b.events)
	alarmed := dataset{name: "alarmed", hosts: b.hosts, metrics: 10, step: ten}.ending(end, b.triggered)
	month := dataset{name: "month", hosts: min(b.hosts, 20), metrics: 1, step: ten}.ending(end, time.Duration(b.days+shifts+1)*24*time.Hour)
	loads := []stream{
		{"Influx lines", cpu, byLine},
		{"CloudEvents (theirs: lines)", fleet, byEvent},
		{"CloudEvents through triggers (theirs: lines)", alarmed, byTrigger},
	}
	if err := b.ingest(ctx, loads, month); err != nil {
		return err
	}
	// Both write all they have to files, and begin with empty caches.
	b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.disk(); err != nil {
		return err
	}
	b.memory("start with empty caches")
	if err := b.ask(ctx, questions(cpu, month)); err != nil {
		return err
	}
	// Rollups are written by ours alone: the memory of that is a row of its own.
	b.memory("queries")
	rolled := daily(month)
	rolled.name, rolled.whole = rolled.name+", through a rollup (theirs: not)", true
	if err := rollUp(ctx, b.targets[0], month); err != nil {
		fmt.Printf("left out: rollups: %v\n", err)
	} else if err := b.ask(ctx, []question{rolled}); err != nil {
		return err
	}
	b.memory("rollups")
	fmt.Printf("\n%d processors, load average after %s; medians of %d rounds\n\n", runtime.NumCPU(), load(), b.rounds)
	b.report(os.Stdout)
	return nil
}

// install copies both programs piece by piece, as they are installed: of a file that
// a linker has just written in one go, Linux maps 2 MB wherever a byte is used, which
// would count as memory, and more so of the larger program.
func (b *bench) install() error {
	for name, program := range map[string]*string{"ours.program": &b.program, "theirs.program": &b.peer} {
		from, err := os.Open(*program)
		if err != nil {
			return err
		}
		*program = filepath.Join(b.dir, name)
		to, err := os.OpenFile(*program, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
		if err != nil {
			return errors.Join(err, from.Close())
		}
		_, err = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		if err := errors.Join(err, from.Close(), to.Close()); err != nil {
			return err
		}
	}
	return nil
}

// start starts both servers on their folders.
func (b *bench) start(ctx context.Context) error {
	ours, err := startOurs(ctx, b.program, filepath.Join(b.dir, "ours"))
	if err != nil {
		return err
	}
	b.targets = []*target{ours}
	theirs, err := startVictoria(ctx, b.peer, filepath.Join(b.dir, "theirs"))
	if err != nil {
		return err
	}
	b.targets = append(b.targets, theirs)
	return nil
}

// stop stops what runs.
func (b *bench) stop() {
	for _, t := range b.targets {
		if err := t.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "series: stop:", err)
		}
	}
	b.targets = nil
}
