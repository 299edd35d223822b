package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The shape of the load: the readings of one event, and how many devices they
// come from.
const (
	readings = 10
	devices  = 1000
)

// template is the JSON of one event. The device, id and time have a fixed
// width, so that a batch is encoded once and patched in place.
const (
	idMark    = "IIIIIIIIIIIIIIII"
	timeMark  = "TTTTTTTTTTTTTTTTTTTTTTTT"
	valueMark = "77.7777"
	template  = `{"specversion":"1.0","id":"` + idMark + `","source":"//selvedge.dev/projects/default/devices/bench-%04d",` +
		`"type":"com.example.bench","time":"` + timeMark + `","datacontenttype":"application/json","data":{"temperature":77.7777,` +
		`"humidity":77.7777,"pressure":77.7777,"co2":77.7777,"light":77.7777,"noise":77.7777,"motion":77.7777,` +
		`"battery":{"volts":77.7777,"percent":77.7777},"rssi":77.7777}}`
)

// batch is the body of a request that is sent again and again with new ids,
// times and values.
type batch struct {
	body               []byte
	ids, times, values []int
}

// newBatch is a batch of n events of the devices from first on.
func newBatch(first, n int) *batch {
	var b batch
	var out bytes.Buffer
	out.WriteByte('[')
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, template, (first+i)%devices)
	}
	out.WriteByte(']')
	b.body = out.Bytes()
	b.ids, b.times, b.values = positions(b.body, idMark), positions(b.body, timeMark), positions(b.body, valueMark)
	return &b
}

// positions are where mark is in body.
func positions(body []byte, mark string) []int {
	var at []int
	for i := 0; ; {
		n := bytes.Index(body[i:], []byte(mark))
		if n < 0 {
			return at
		}
		at = append(at, i+n)
		i += n + len(mark)
	}
}

// sequence numbers all events of a run, so that no two are equal.
var sequence atomic.Int64

// patch gives every event of the batch a new id and the time now.
func (b *batch) patch(now time.Time) {
	stamp := now.UTC().Format("2006-01-02T15:04:05.000Z")
	for i, at := range b.ids {
		n := sequence.Add(1)
		copy(b.body[at:], fmt.Sprintf("%016d", n))
		copy(b.body[b.times[i]:], stamp)
		for r := range readings {
			v := strconv.AppendInt(nil, 100_000+(n*7919+int64(r)*104_729)%900_000, 10)
			copy(b.body[b.values[i*readings+r]:], append(append(v[:2:2], '.'), v[2:]...))
		}
	}
}

// load posts batches of size events over connections at once until ctx ends,
// and returns the events that were answered with 2xx and the latencies.
func load(ctx context.Context, url, key string, connections, size int) (int64, []time.Duration, error) {
	var events atomic.Int64
	var mu sync.Mutex
	var latencies []time.Duration
	var failed error
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	var wg sync.WaitGroup
	for c := range connections {
		wg.Go(func() {
			b := newBatch(c*devices/connections, size)
			var mine []time.Duration
			var err error
			for ctx.Err() == nil {
				b.patch(time.Now())
				begin := time.Now()
				if err = post(client, url, key, b.body); err != nil {
					break
				}
				mine = append(mine, time.Since(begin))
				events.Add(int64(size))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, mine...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	client.CloseIdleConnections()
	slices.Sort(latencies)
	return events.Load(), latencies, failed
}

// post posts a batch and checks that every event was taken.
func post(client *http.Client, url, key string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("answer %d: %.300s", resp.StatusCode, answer)
	}
	return nil
}

// quantile is the q-quantile of sorted durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
