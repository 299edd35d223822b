// Command bench measures the platform as an operator would see it: the real
// program, started on an empty folder, loaded over HTTP from this machine, so
// that the load generator takes its share of the processors.
//
// Every throughput is of events that were answered with 2xx, that is, durable.
// It prints medians where it repeats, and the state of the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"selvedge.dev/tests/process"
)

// settings are the flags.
type settings struct {
	duration time.Duration
	idle     time.Duration
	only     string
	program  string
}

// main runs the benchmarks.
func main() {
	var s settings
	flag.DurationVar(&s.duration, "duration", 15*time.Second, "how long each load runs")
	flag.DurationVar(&s.idle, "idle", 10*time.Second, "how long the platform is left alone before its idle memory is read")
	flag.StringVar(&s.only, "only", "", "run only the part of this name: start, single, batch, latency")
	flag.StringVar(&s.program, "program", "", "the selvedge program to measure; built from the sources by default")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run builds the program and measures it.
func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "selvedge-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of value
	if s.program == "" {
		if s.program, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	report("machine", "%d processors, %s, load before %s", runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(load)))
	for _, part := range []struct {
		name string
		run  func(context.Context, settings, string) error
	}{
		{"start", benchStart}, {"single", benchSingle}, {"batch", benchBatch}, {"latency", benchLatency},
	} {
		if s.only != "" && s.only != part.name {
			continue
		}
		if err := part.run(ctx, s, filepath.Join(dir, part.name)); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// report prints one figure.
func report(name, format string, args ...any) {
	fmt.Printf("%-34s %s\n", name, fmt.Sprintf(format, args...))
}

// benchStart measures the time to ready and the idle memory.
func benchStart(ctx context.Context, s settings, data string) error {
	var times []time.Duration
	for i := range 5 {
		p, err := process.Start(ctx, s.program, fmt.Sprintf("%s-%d", data, i))
		if err != nil {
			return err
		}
		times = append(times, p.Started)
		if i == 0 {
			time.Sleep(s.idle)
			rss, err := p.Memory()
			if err != nil {
				return err
			}
			report("idle memory", "%d MB resident, %v after the start", rss>>20, s.idle)
		}
		if err := p.Stop(ctx); err != nil {
			return err
		}
	}
	slices.Sort(times)
	report("time to ready", "%d ms, median of %d starts on an empty folder", times[2].Milliseconds(), len(times))
	return nil
}

// start starts a platform with the devices of the load.
func start(ctx context.Context, program, data string) (*process.Platform, error) {
	p, err := process.Start(ctx, program, data)
	if err != nil {
		return nil, err
	}
	for i := range devices {
		name := fmt.Sprintf("bench-%04d", i)
		err := p.Client(process.AdminKey).Call(ctx, http.MethodPost, "/v1/projects/default/devices", url.Values{"deviceId": {name}}, map[string]any{}, nil)
		if err != nil {
			return nil, fmt.Errorf("register %s: %w", name, err)
		}
	}
	return p, nil
}

// benchSingle measures one event a request.
func benchSingle(ctx context.Context, s settings, data string) error {
	for _, connections := range []int{1, 64} {
		err := throughput(ctx, s, fmt.Sprintf("%s-%d", data, connections), connections, 1)
		if err != nil {
			return err
		}
	}
	return nil
}

// benchBatch measures batches of 500 events.
func benchBatch(ctx context.Context, s settings, data string) error {
	return throughput(ctx, s, data, 4, 500)
}

// throughput loads a new platform and waits until all is stored.
func throughput(ctx context.Context, s settings, data string, connections, size int) error {
	p, err := start(ctx, s.program, data)
	if err != nil {
		return err
	}
	begin := time.Now()
	timed, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	events, latencies, err := load(timed, p.URL, process.AdminKey, connections, size)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.Output())
	}
	took := time.Since(begin)
	rate := float64(events) / took.Seconds()
	name := fmt.Sprintf("%d connections, batches of %d", connections, size)
	report(name, "%.0f events/s, %.0f samples/s durable; p50 %v p99 %v a request", rate, rate*readings,
		quantile(latencies, .5).Round(10*time.Microsecond), quantile(latencies, .99).Round(10*time.Microsecond))
	if err := drained(ctx, p); err != nil {
		return err
	}
	took = time.Since(begin)
	rss, err := p.Memory()
	if err != nil {
		return err
	}
	report("  … until all is stored", "%.0f samples/s; memory then %d MB", float64(events)*readings/took.Seconds(), rss>>20)
	return p.Stop(ctx)
}

// drained waits until no trigger has anything left to do.
func drained(ctx context.Context, p *process.Platform) error {
	for {
		var st struct {
			Triggers []struct {
				Pending int64 `json:"pending"`
			} `json:"triggers"`
		}
		if err := p.Client(process.AdminKey).Call(ctx, http.MethodGet, "/v1/status", nil, nil, &st); err != nil {
			return err
		}
		left := int64(0)
		for _, t := range st.Triggers {
			left += t.Pending
		}
		if left == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// probes is how many events benchLatency follows to the query.
const probes = 300

// benchLatency measures the time from the post of an event until a query
// answers with its point, idle and beside a load of a third of the aim.
func benchLatency(ctx context.Context, s settings, data string) error {
	p, err := start(ctx, s.program, data)
	if err != nil {
		return err
	}
	idle, err := queryable(ctx, p)
	if err != nil {
		return err
	}
	report("post to queryable, idle", "p50 %v p99 %v of %d", quantile(idle, .5).Round(100*time.Microsecond), quantile(idle, .99).Round(100*time.Microsecond), len(idle))

	busy, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		events int64
		err    error
	}
	loaded := make(chan outcome, 1)
	begin := time.Now()
	go func() {
		events, err := paced(busy, p.URL, 20)
		loaded <- outcome{events, err}
	}()
	under, err := queryable(ctx, p)
	if err != nil {
		return err
	}
	stop()
	o := <-loaded
	if o.err != nil {
		return o.err
	}
	report("post to queryable, under load", "p50 %v p99 %v of %d, beside %.0f samples/s", quantile(under, .5).Round(100*time.Microsecond),
		quantile(under, .99).Round(100*time.Microsecond), len(under), float64(o.events)*readings/time.Since(begin).Seconds())
	return p.Stop(ctx)
}

// paced posts perSecond batches of 500 events a second until ctx ends.
func paced(ctx context.Context, url string, perSecond int) (int64, error) {
	client := &http.Client{}
	b := newBatch(0, 500)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	events := int64(0)
	for {
		select {
		case <-ctx.Done():
			return events, nil
		case <-tick.C:
		}
		b.patch(time.Now())
		if err := post(client, url, process.AdminKey, b.body); err != nil {
			return events, err
		}
		events += 500
	}
}

// queryable posts events one by one and polls until each is answered.
func queryable(ctx context.Context, p *process.Platform) ([]time.Duration, error) {
	client := &http.Client{}
	var took []time.Duration
	for range probes {
		b := newBatch(devices-1, 1)
		now := time.Now()
		b.patch(now)
		if err := post(client, p.URL, process.AdminKey, b.body); err != nil {
			return nil, err
		}
		stamp := now.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		q := url.Values{
			"filter":           {`metric.type = "com.example.bench/temperature" AND resource.labels.device_id = "bench-0999"`},
			"interval.endTime": {stamp}, "interval.startTime": {stamp},
		}
		for {
			var answer struct {
				TimeSeries []any `json:"timeSeries"`
			}
			if err := p.Client(process.AdminKey).Call(ctx, http.MethodGet, "/v3/projects/default/timeSeries", q, nil, &answer); err != nil {
				return nil, err
			}
			if len(answer.TimeSeries) > 0 {
				break
			}
			if time.Since(now) > 30*time.Second {
				return nil, fmt.Errorf("the event of %s is not there after 30 s", stamp)
			}
			time.Sleep(2 * time.Millisecond)
		}
		took = append(took, time.Since(now))
		time.Sleep(7 * time.Millisecond)
	}
	slices.Sort(took)
	return took, nil
}
