package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// dataset is what both servers are given: so many samples, one every step, of
// so many metrics of every host.
type dataset struct {
	// name is the measurement of the line protocol and the last part of the
	// event's type.
	name           string
	hosts, metrics int
	start          time.Time
	step           time.Duration
	// samples is how many each series has.
	samples int
}

// host is the name of the i-th host.
func host(i int) string { return fmt.Sprintf("host-%03d", i) }

// end is the time of the last sample.
func (d dataset) end() time.Time { return d.start.Add(time.Duration(d.samples-1) * d.step) }

// total is how many samples there are.
func (d dataset) total() int { return d.samples * d.hosts * d.metrics }

// ending is d with as many samples as there are in the span, the last one at
// end.
func (d dataset) ending(end time.Time, span time.Duration) dataset {
	d.samples = int(span / d.step)
	d.start = end.Add(-time.Duration(d.samples-1) * d.step)
	return d
}

// part is the i-th of n parts of the data, by time.
func (d dataset) part(i, n int) dataset {
	size := d.samples / n
	d.start, d.samples = d.start.Add(time.Duration(i*size)*d.step), size
	return d
}

// rows are the samples of all metrics of a host at a time.
type rows struct {
	dataset

	host   int
	at     time.Time
	values []int
}

// each calls f with all rows of the hosts in [from, to), in the order of time.
// Values are whole numbers from 0 to 100 that walk by one, as loads of
// processors do; the same seed gives the same walk.
func (d dataset) each(from, to int, f func(rows) error) error {
	random := rand.New(rand.NewPCG(uint64(d.start.Unix()), uint64(from)))
	values := make([]int, (to-from)*d.metrics)
	for i := range values {
		values[i] = random.IntN(101)
	}
	for n := range d.samples {
		for h := from; h < to; h++ {
			mine := values[(h-from)*d.metrics:][:d.metrics]
			bits := random.Uint64()
			for i := range mine {
				mine[i] = min(100, max(0, mine[i]+int(bits>>(2*i)&1)-int(bits>>(2*i+1)&1)))
			}
			if err := f(rows{dataset: d, host: h, at: d.start.Add(time.Duration(n) * d.step), values: mine}); err != nil {
				return err
			}
		}
	}
	return nil
}

// way is a way in.
type way uint8

// The ways in: lines of Influx, batches of events with all metrics of a host in
// each to the door for series, and the same to the broker, whose triggers take
// them to the series.
const (
	byLine way = iota
	byEvent
	byTrigger
	ways
)

// protocol is what is sent.
type protocol struct {
	// media is the type of a body, encode appends rows to one, and close ends
	// it.
	media, close string
	encode       func(b []byte, r rows) []byte
}

// The protocols.
var (
	lines  = protocol{media: "text/plain", encode: appendLine}
	events = protocol{media: "application/cloudevents-batch+json", encode: appendEvent, close: "]"}
)

// appendLine appends rows as a line of the Influx protocol, in milliseconds.
func appendLine(b []byte, r rows) []byte {
	b = append(append(append(b, r.name...), ",host="...), host(r.host)...)
	for i, v := range r.values {
		sep := byte(',')
		if i == 0 {
			sep = ' '
		}
		b = strconv.AppendInt(append(append(b, sep, 'm'), byte('0'+i), '='), int64(v), 10)
	}
	b = strconv.AppendInt(append(b, ' '), r.at.UnixMilli(), 10)
	return append(b, '\n')
}

// appendEvent appends rows as an event, the elements of a batch being
// separated by commas.
func appendEvent(b []byte, r rows) []byte {
	separator := byte(',')
	if len(b) == 0 {
		separator = '['
	}
	b = append(append(b, separator), `{"specversion":"1.0","id":"`...)
	b = strconv.AppendInt(append(b, r.name...), r.at.UnixMilli(), 36)
	b = append(append(b, `","source":"//selvedge.dev/projects/default/devices/`...), host(r.host)...)
	b = append(append(b, `","type":"com.example.`...), r.name...)
	b = r.at.UTC().AppendFormat(append(b, `","time":"`...), "2006-01-02T15:04:05.000Z")
	b = append(b, `","datacontenttype":"application/json","data":`...)
	for i, v := range r.values {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b = append(append(b, sep, '"', 'm'), byte('0'+i), '"', ':')
		b = strconv.AppendInt(b, int64(v), 10)
	}
	return append(b, "}}"...)
}
