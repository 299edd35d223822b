// Command series measures the series engine of the platform beside a stock
// VictoriaMetrics of the version that the engine has in it: the same data, both
// real programs on the same machine, loaded over HTTP by turns, in some rounds
// of which the medians count.
//
// They are not asked for the same. A sample that ours has answered for is on the
// disk; VictoriaMetrics keeps it in memory for up to five seconds. Ours checks
// the credentials of every call, finds the device of every event, and answers
// with Google's JSON, which has 110 bytes for a point where that of Prometheus
// has 30.
//
// Latencies are of two kinds. A first question is about windows that nobody asked
// about before, and VictoriaMetrics may not use its cache; a question again is
// one that was asked a step ago, as a dashboard does.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/tests/process"
)

// settings are the flags.
type settings struct {
	program, peer string
	rounds        int
	hours         int
	limit         time.Duration
}

// main runs the benchmark.
func main() {
	var s settings
	flag.StringVar(&s.program, "program", "", "the selvedge program to measure; built from the sources by default")
	flag.StringVar(&s.peer, "peer", "", "the victoria-metrics program; built from tests/bench/victoria by default")
	flag.IntVar(&s.rounds, "rounds", 3, "how often each server is measured")
	flag.IntVar(&s.hours, "hours", 24, "how many hours of samples every ten seconds there are")
	flag.DurationVar(&s.limit, "limit", 10*time.Minute, "how long it may take")
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
	dir     string
	targets []*target
	// figures are the measurements by name and target.
	figures map[string]map[string][]float64
	order   []string
	units   map[string]string
}

// run builds and starts the servers, and measures them by turns.
func run(ctx context.Context, s settings) (err error) {
	b := &bench{settings: s, figures: map[string]map[string][]float64{}, units: map[string]string{}}
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
	fmt.Printf("%d processors, load average before %s\n", runtime.NumCPU(), load())
	if err := b.start(ctx); err != nil {
		return err
	}
	defer b.stop()
	if err := register(ctx, b.targets[0]); err != nil {
		return err
	}
	end := time.Now().Truncate(time.Hour).Add(-time.Hour)
	cpu := dataset{name: "cpu", metrics: 10, step: 10 * time.Second, samples: s.hours * 360}
	cpu.start = end.Add(-time.Duration(cpu.samples-1) * cpu.step)
	month := dataset{name: "month", metrics: 1, step: 5 * time.Minute, samples: 30 * 288}
	month.start = end.Add(-time.Duration(month.samples-1) * month.step)
	if err := b.ingest(ctx, cpu, month); err != nil {
		return err
	}
	// Both write all they have to files, and begin with empty caches.
	b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.disk(cpu.samples*hosts*cpu.metrics + month.samples*hosts); err != nil {
		return err
	}
	if err := b.ask(ctx, questions(cpu, month)); err != nil {
		return err
	}
	b.memory("memory after the queries")
	b.report()
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

// note keeps a figure.
func (b *bench) note(name, unit string, t *target, v float64) {
	if b.figures[name] == nil {
		b.figures[name] = map[string][]float64{}
		b.order = append(b.order, name)
		b.units[name] = unit
	}
	b.figures[name][t.name] = append(b.figures[name][t.name], v)
}

// The load of the ingest: connections at once, and rows in a request.
const (
	connections = 4
	rowsAtOnce  = 500
)

// ingest writes the first set in as many parts as there are rounds, by turns,
// and then the second.
func (b *bench) ingest(ctx context.Context, first, second dataset) error {
	for round := range b.rounds {
		part := first.part(round, b.rounds)
		for _, t := range b.targets {
			taken, stored, err := send(ctx, t, part)
			if err != nil {
				return err
			}
			samples := float64(part.samples * hosts * part.metrics)
			b.note("ingest, samples/s answered for", "/s", t, samples/taken.Seconds())
			b.note("… until all is stored", "/s", t, samples/stored.Seconds())
			fmt.Printf("round %d, %s: %.0f samples/s, %.0f until stored\n", round+1, t.name, samples/taken.Seconds(), samples/stored.Seconds())
		}
	}
	b.memory("memory after the ingest")
	for _, t := range b.targets {
		if _, _, err := send(ctx, t, second); err != nil {
			return err
		}
	}
	return nil
}

// send writes all of a set over all connections, and returns how long it took
// until it was answered for, and until it was stored.
func send(ctx context.Context, t *target, d dataset) (taken, stored time.Duration, err error) {
	begin := time.Now()
	g, sending := errgroup.WithContext(ctx)
	for c := range connections {
		g.Go(func() error {
			var body []byte
			n := 0
			flush := func() error {
				err := t.post(sending, t.write, t.media, append(body, t.close...))
				body, n = body[:0], 0
				return err
			}
			err := d.each(c*hosts/connections, (c+1)*hosts/connections, func(r rows) error {
				body = t.encode(body, r)
				if n++; n == rowsAtOnce {
					return flush()
				}
				return nil
			})
			if err == nil && n > 0 {
				err = flush()
			}
			return err
		})
	}
	err = g.Wait()
	taken = time.Since(begin)
	if err == nil {
		err = t.settle(ctx)
	}
	return taken, time.Since(begin), err
}

// disk notes the bytes of a sample.
func (b *bench) disk(samples int) error {
	for _, t := range b.targets {
		n, err := size(t.data)
		if err != nil {
			return err
		}
		b.note("bytes on disk for a sample", "B", t, float64(n)/float64(samples))
	}
	return nil
}

// memory notes the resident memory.
func (b *bench) memory(name string) {
	for _, t := range b.targets {
		n, err := t.process.Memory()
		if err != nil {
			n = 0 // this is no Linux
		}
		b.note(name, "MB", t, float64(n)/(1<<20))
	}
}

// questions are what is asked.
func questions(cpu, month dataset) []question {
	span := cpu.end().Sub(cpu.start).Truncate(time.Hour)
	minute := question{set: cpu, metrics: 1, aligner: "ALIGN_MEAN", function: "avg_over_time(%s)", period: time.Minute}
	with := func(q question, name string, change func(*question)) question {
		q.name = name
		change(&q)
		return q
	}
	return []question{
		with(minute, "1 series, 1 h, mean", func(q *question) { q.hosts, q.span, q.times = 1, time.Hour, 40 }),
		with(minute, "1 metric, 8 h, max over 8 hosts", func(q *question) {
			q.hosts, q.span, q.times, q.reduce = 8, min(span, 8*time.Hour), 20, true
			q.aligner, q.function = "ALIGN_MAX", "max_over_time(%s)"
		}),
		with(minute, fmt.Sprintf("1 metric, all hosts, %v, mean", span), func(q *question) { q.span, q.times = span, 5 }),
		with(minute, fmt.Sprintf("5 metrics, all hosts, %v, mean", span), func(q *question) { q.metrics, q.span, q.times = 5, span, 3 }),
		with(minute, fmt.Sprintf("10 metrics, all hosts, %v, mean", span), func(q *question) { q.metrics, q.span, q.times = 10, span, 2 }),
		with(minute, "30 days, percentile 95 an hour", func(q *question) {
			q.set, q.span, q.period, q.times = month, 29*24*time.Hour, time.Hour, 5
			q.aligner, q.function = "ALIGN_PERCENTILE_95", "quantile_over_time(0.95, %s)"
		}),
	}
}

// ask asks everything in rounds, by turns, after a comparison of the answers.
func (b *bench) ask(ctx context.Context, all []question) error {
	var usable []question
	for _, q := range all {
		q.end = q.set.end()
		if err := b.compare(ctx, q); err != nil {
			fmt.Printf("left out: %s: %v\n", q.name, err)
			continue
		}
		usable = append(usable, q)
	}
	for round := range b.rounds {
		for _, q := range usable {
			for _, cached := range []bool{false, true} {
				for _, t := range b.targets {
					took, err := b.time(ctx, t, q, round, cached)
					if err != nil {
						return err
					}
					name := q.name + map[bool]string{false: ", first", true: ", again"}[cached]
					b.note(name, "ms", t, float64(took.Microseconds())/1000)
				}
			}
		}
	}
	return nil
}

// tolerance is how much the sums of the answers may differ by, relatively: the
// servers' means and quantiles are rounded in another order.
const tolerance = 1e-6

// compare asks both the same and compares.
func (b *bench) compare(ctx context.Context, q question) error {
	var points []int
	var sums []float64
	for _, t := range b.targets {
		var answer bytes.Buffer
		if err := t.ask(ctx, t, q, &answer); err != nil {
			return err
		}
		n, sum, err := t.sum(answer.Bytes())
		if err != nil {
			return err
		}
		points, sums = append(points, n), append(sums, sum)
		fmt.Printf("%s, %s: %d points that sum up to %g, %d bytes\n", q.name, t.name, n, sum, answer.Len())
	}
	if points[0] != points[1] || math.Abs(sums[0]-sums[1]) > tolerance*math.Abs(sums[1]) {
		return fmt.Errorf("the answers differ: %d points that sum up to %g, and %d to %g", points[0], sums[0], points[1], sums[1])
	}
	return nil
}

// time asks a question several times and returns the median. A first question
// ends at another instant each time, so that no window was asked for before;
// one asked again ends a period later each time.
func (b *bench) time(ctx context.Context, t *target, q question, round int, cached bool) (time.Duration, error) {
	var all []time.Duration
	var answer bytes.Buffer
	q.cached = cached
	end := q.end
	n := q.times
	if cached {
		n++ // the first one fills the caches
	}
	for i := range n {
		q.end = end.Add(-time.Duration(1+i+n*round) * 1009 * time.Millisecond)
		if cached {
			q.end = end.Add(-time.Duration(n-i) * q.period)
		}
		answer.Reset()
		begin := time.Now()
		if err := t.ask(ctx, t, q, &answer); err != nil {
			return 0, err
		}
		if !cached || i > 0 {
			all = append(all, time.Since(begin))
		}
	}
	slices.Sort(all)
	return all[len(all)/2], nil
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

// median is the middle of some figures.
func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	if len(all) == 0 {
		return math.NaN()
	}
	return all[len(all)/2]
}

// report prints the medians of the rounds as a table. The ratio says how many
// times as good ours is.
func (b *bench) report() {
	fmt.Printf("\n%d processors, load average after %s; medians of %d rounds\n\n", runtime.NumCPU(), load(), b.rounds)
	fmt.Println("| figure | Selvedge | VictoriaMetrics | times as good |\n|---|---|---|---|")
	for _, name := range b.order {
		ours, theirs := median(b.figures[name]["Selvedge"]), median(b.figures[name]["VictoriaMetrics"])
		ratio, format := theirs/ours, "%.1f"
		switch b.units[name] {
		case "/s":
			ratio, format = ours/theirs, "%.0f"
		case "B":
			format = "%.2f"
		}
		fmt.Printf("| %s | "+format+" %s | "+format+" %[3]s | %.2[5]f |\n", name, ours, b.units[name], theirs, ratio)
	}
}
