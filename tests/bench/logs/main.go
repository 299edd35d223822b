// Command logs measures the stores of logs beside what they are made of: ours on
// ClickHouse beside the same server used directly, with the schema that its
// makers recommend for logs (ClickStack's, of OpenTelemetry) and their client;
// and the embedded store beside the storage of VictoriaLogs used directly. Both
// get the same records, in the same batches, by turns, and are asked the same,
// by turns; medians count.
//
// They do not give the same. Neither has entries on the disk when it returns; with
// -intake ours has, in a journal. An entry of ours has what a LogEntry has beyond a record of
// OpenTelemetry: its project, bucket, log, insert id, when it was received and
// where it was journalled.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// settings are the flags.
type settings struct {
	rows, batch, rounds int
	only, server        string
	intake              bool
	limit               time.Duration
}

// main runs the benchmark.
func main() {
	var s settings
	flag.IntVar(&s.rows, "rows", 1_000_000, "how many records there are")
	flag.IntVar(&s.batch, "batch", 20_000, "how many are written at a time")
	flag.IntVar(&s.rounds, "rounds", 9, "how often each question is asked, each time for something else")
	flag.StringVar(&s.only, "only", "", "clickhouse or embedded, to measure only that")
	flag.StringVar(&s.server, "server", "", "DSN of a ClickHouse server to use, without a database; a private one by default")
	flag.BoolVar(&s.intake, "intake", false, "ours is written to through an intake, which makes entries durable first; -batch should be large")
	flag.DurationVar(&s.limit, "limit", 30*time.Minute, "how long it may take")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "logs:", err)
		os.Exit(1)
	}
}

// run measures what there is.
func run(ctx context.Context, s settings) error {
	for _, p := range []struct {
		name string
		open func(ctx context.Context, s settings) (*pair, error)
	}{{"clickhouse", openClickHouse}, {"embedded", openEmbedded}} {
		if s.only != "" && s.only != p.name {
			continue
		}
		fmt.Printf("%s: %d records, %d processors, load average before %s\n", p.name, s.rows, runtime.NumCPU(), load())
		pair, err := p.open(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if s.intake {
			err = openIntake(pair)
		}
		var f figures
		if err == nil {
			err = measure(ctx, s, pair, &f)
		}
		pair.close()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		f.report(os.Stdout)
		fmt.Printf("load average after %s; medians\n\n", load())
	}
	return nil
}

// direct is a store used without ours.
type direct interface {
	// insert writes records.
	insert(ctx context.Context, records []record) error
	// ask asks a question, and says how many rows or groups came.
	ask(ctx context.Context, q question) (int, error)
}

// pair is ours and what it is compared with.
type pair struct {
	ours   logstore.Store
	theirs direct
	// settle ends what goes on behind the scenes, and gives the bytes on the
	// disk of both.
	settle func(ctx context.Context) (ours, theirs int64, err error)
	close  func()
}

// question is one that both are asked.
type question struct {
	name string
	// filter is of Google's language, from and to bound the times.
	filter   string
	from, to time.Time
	// bars asks for numbers by five minutes and severity, else for the newest 100.
	bars bool
	// service, severity, word, part and device are what is asked for.
	service, word, part, device string
	severity                    int
}

// questions are those of a round.
func questions(round int) []question {
	end := start.Add(days * 24 * time.Hour)
	service := serviceName(round % 20)
	hour := start.Add(time.Duration(10+5*round) * time.Hour)
	rare, device := rareWord(round), deviceName(7*round)
	common := []string{"connection", "timeout", "device", "topic", "cache", "query", "token", "job", "certificate"}[round%9]
	part := []string{"ompact", "pstrea", "umidit", "eclaim", "elemetr", "resh", "hard", "econd fact", "etrying"}[round%9]
	return []question{
		{name: "newest 100 of a service, an hour, errors", filter: fmt.Sprintf(`resource.labels.service_name="%s" severity>=ERROR`, service), from: hour, to: hour.Add(time.Hour), service: service, severity: 3},
		{name: "newest 100 of a service", filter: fmt.Sprintf(`resource.labels.service_name="%s"`, service), from: start, to: end, service: service},
		{name: "newest 100", from: start, to: end},
		{name: "newest 100 errors", filter: "severity>=ERROR", from: start, to: end, severity: 3},
		{name: "newest 100 with a rare word", filter: fmt.Sprintf(`SEARCH(textPayload, "%s")`, rare), from: start, to: end, word: rare},
		{name: "newest 100 with a common word", filter: fmt.Sprintf(`SEARCH(textPayload, "%s")`, common), from: start, to: end, word: common},
		{name: "newest 100 with a part of a word", filter: fmt.Sprintf(`textPayload:"%s"`, part), from: start, to: end, part: part},
		{name: "newest 100 with a label", filter: fmt.Sprintf(`labels."device.id"="%s"`, device), from: start, to: end, device: device},
		{name: "24 h by 5 minutes and severity", from: start.Add(12 * time.Hour), to: start.Add(36 * time.Hour), bars: true},
		{name: "a common word by 5 minutes and severity", filter: fmt.Sprintf(`SEARCH(textPayload, "%s")`, common), from: start, to: end, word: common, bars: true},
	}
}

// measure writes to both and asks both.
func measure(ctx context.Context, s settings, p *pair, f *figures) error {
	g := newGenerator(s.rows)
	for done, turn := 0, 0; done < s.rows; turn++ {
		n := min(s.batch, s.rows-done)
		records := g.batch(n)
		given := entries(records)
		ours := func() error { return p.ours.Append(ctx, given) }
		theirs := func() error { return p.theirs.insert(ctx, records) }
		a, b, err := turns(turn, ours, theirs)
		if err != nil {
			return err
		}
		f.note("written", "rows/s", float64(n)/a.Seconds(), float64(n)/b.Seconds())
		done += n
	}
	begin := time.Now()
	ours, theirs, err := p.settle(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("settled in %s\n", time.Since(begin).Round(time.Millisecond))
	f.note("on the disk", "B/row", float64(ours)/float64(s.rows), float64(theirs)/float64(s.rows))
	for round := range s.rounds + 1 {
		for i, q := range questions(round) {
			var got, want int
			a, b, err := turns(round+i, func() (err error) { got, err = askOurs(ctx, p.ours, q); return err },
				func() (err error) { want, err = p.theirs.ask(ctx, q); return err })
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", q.name, err)
			case got != want:
				return fmt.Errorf("%s: ours gives %d, the other %d", q.name, got, want)
			case round > 0: // the first warms up
				f.note(q.name, "ms", 1000*a.Seconds(), 1000*b.Seconds())
			}
		}
	}
	return nil
}

// turns times two, of which each goes first every other time.
func turns(turn int, ours, theirs func() error) (a, b time.Duration, err error) {
	timed := func(f func() error) (d time.Duration) {
		if err != nil {
			return 0
		}
		begin := time.Now()
		err = f()
		return time.Since(begin)
	}
	if turn%2 == 0 {
		a = timed(ours)
		b = timed(theirs)
	} else {
		b = timed(theirs)
		a = timed(ours)
	}
	return a, b, err
}

// askOurs asks ours.
func askOurs(ctx context.Context, store logstore.Store, q question) (int, error) {
	selection := logstore.Selection{Project: "p1", Buckets: []string{"_Default"}, From: q.from, To: q.to}
	if q.filter != "" {
		f, err := filter.Parse(q.filter)
		if err != nil {
			return 0, err
		}
		selection.Filter = f
	}
	if q.bars {
		groups, err := store.Count(ctx, logstore.Counting{Selection: selection, Interval: 5 * time.Minute, By: [][]string{{"severity"}}})
		return len(groups), err
	}
	found, err := store.List(ctx, logstore.Query{Selection: selection, Descending: true, Limit: 100})
	return len(found), err
}
