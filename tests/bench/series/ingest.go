package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// The load of the ingest: connections at once, and rows in a request.
const (
	connections = 8
	rowsAtOnce  = 1000
)

// stream is a set of data and the way in that it takes.
type stream struct {
	name string
	set  dataset
	how  way
}

// ingest writes sets, each in as many parts as there are rounds, by turns, and
// then one more, which is not measured. VictoriaMetrics knows no events and gets
// everything as lines, so the memory is noted after each set.
func (b *bench) ingest(ctx context.Context, loads []stream, month dataset) error {
	for _, load := range loads {
		if load.set.samples < b.rounds {
			continue // it is not to be measured
		}
		for round := range b.rounds {
			for i := range b.targets {
				// Which one is first changes with the round.
				t := b.targets[(i+round)%len(b.targets)]
				if err := b.write(ctx, t, load.name, load.set.part(round, b.rounds), load.how); err != nil {
					return err
				}
			}
		}
		b.memory(load.name)
	}
	for _, t := range b.targets {
		if _, _, err := send(ctx, t, t.ways[byLine], lines, month); err != nil {
			return err
		}
	}
	b.written += month.total()
	return nil
}

// write writes a part of a set and notes how long it took.
func (b *bench) write(ctx context.Context, t *target, name string, part dataset, by way) error {
	path, how := t.ways[by], events
	if by == byLine || path == "" {
		path, how = t.ways[byLine], lines
	}
	busy, err := t.process.Processor()
	if err != nil {
		return err
	}
	taken, stored, err := send(ctx, t, path, how, part)
	if err != nil {
		return err
	}
	after, err := t.process.Processor()
	if err != nil {
		return err
	}
	samples := float64(part.total())
	b.note(name+", answered for", perSecond, t, samples/taken.Seconds())
	b.note(name+", until all are stored", perSecond, t, samples/stored.Seconds())
	b.note(name+", for a second of the server's processors", perSecond, t, samples/(after-busy).Seconds())
	fmt.Printf("%s, %s: %.0f samples/s, %.0f until stored, %.0f a processor second\n",
		name, t.name, samples/taken.Seconds(), samples/stored.Seconds(), samples/(after-busy).Seconds())
	if t.name == nameOurs {
		b.written += part.total()
	}
	return nil
}

// send writes all of a set over all connections, and returns how long it took
// until it was answered for, and until it was stored.
func send(ctx context.Context, t *target, path string, how protocol, d dataset) (taken, stored time.Duration, err error) {
	begin := time.Now()
	g, sending := errgroup.WithContext(ctx)
	for c := range connections {
		g.Go(func() error {
			var body []byte
			n := 0
			flush := func() error {
				err := t.post(sending, path, how.media, append(body, how.close...))
				body, n = body[:0], 0
				return err
			}
			err := d.each(c*d.hosts/connections, (c+1)*d.hosts/connections, func(r rows) error {
				body = how.encode(body, r)
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
func (b *bench) disk() error {
	for _, t := range b.targets {
		n, err := size(t.data)
		if err != nil {
			return err
		}
		b.note("disk for a sample", bytes8, t, float64(n)/float64(b.written))
	}
	return nil
}

// memory notes the resident memory, what of it is no page of a file, and the most
// that there ever was of it. What cannot be told, since this is no Linux, is 0.
func (b *bench) memory(after string) {
	for _, t := range b.targets {
		n, _ := t.process.Memory()
		b.note("memory after the "+after, megabytes, t, float64(n)/(1<<20))
		n, _ = t.process.Anonymous()
		b.note("… of it not of files, after the "+after, megabytes, t, float64(n)/(1<<20))
		n, _ = t.process.Peak()
		b.note("memory at its peak until after the "+after, megabytes, t, float64(n)/(1<<20))
	}
}
