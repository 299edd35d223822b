package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore"
)

// record is one structured log record, as OpenTelemetry has it.
type record struct {
	time                  time.Time
	severity              int // 0 to 4: DEBUG to CRITICAL
	service, trace, span  string
	body                  string
	resource, attributes  map[string]string
	sequence              uint64
	insertID, device, req string
}

// The severities of records: their names, their numbers with Google and with
// OpenTelemetry.
var (
	severityNames = []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
	ofGoogle      = []logstore.Severity{logstore.Debug, logstore.Info, logstore.Warning, logstore.Error, logstore.Critical}
	ofOTel        = []uint8{5, 9, 13, 17, 21}
)

// The sizes of what records are about.
const (
	services = 200
	devices  = 5000
	days     = 3
)

// start is when the records begin.
var start = time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC)

// generator makes records: always the same, in the order of time.
type generator struct {
	random *rand.Rand
	zipf   *rand.Zipf
	next   uint64
	rows   int
	lanes  []map[string]string
}

// newGenerator makes a generator of so many records.
func newGenerator(rows int) *generator {
	random := rand.New(rand.NewPCG(1, 2))
	g := &generator{random: random, zipf: rand.NewZipf(random, 1.1, 8, services-1), rows: rows}
	for i := range services {
		g.lanes = append(g.lanes, map[string]string{
			"service_name": serviceName(i), "region": []string{"eu-west", "eu-north", "us-east"}[i%3], "zone": "z" + strconv.Itoa(i%7),
			"version": fmt.Sprintf("v1.%d.%d", i%9, i%4), "instance": fmt.Sprintf("%s-%d", serviceName(i), i%5),
		})
	}
	return g
}

// serviceName is the name of a service.
func serviceName(i int) string {
	return []string{"ingest", "billing", "router", "telemetry", "auth"}[i%5] + "-" + strconv.Itoa(i)
}

// deviceName is the name of a device.
func deviceName(i int) string { return "dev-" + strconv.Itoa(10000+i) }

// batch makes the next records.
func (g *generator) batch(n int) []record {
	records := make([]record, n)
	for i := range records {
		records[i] = g.record()
	}
	return records
}

// hex is a random number of so many digits.
func (g *generator) hex(digits int) string {
	s := fmt.Sprintf("%016x%016x", g.random.Uint64(), g.random.Uint64())
	return s[:digits]
}

// record makes one record.
func (g *generator) record() record {
	n, r := g.next, g.random
	g.next++
	service := int(g.zipf.Uint64())
	step := float64(days*24*time.Hour) / float64(g.rows)
	out := record{
		time: start.Add(time.Duration(float64(n)*step) + time.Duration(r.Int64N(int64(math.Max(step, 1))))), sequence: n, service: serviceName(service),
		trace: g.hex(32), span: g.hex(16), resource: g.lanes[service], insertID: strconv.FormatUint(n, 36),
		device: deviceName(r.IntN(devices)), req: g.hex(16), severity: 1,
	}
	switch p := r.IntN(100); {
	case p < 20:
		out.severity = 0
	case p >= 98 && r.IntN(4) == 0:
		out.severity = 4
	case p >= 94:
		out.severity = 3
	case p >= 86:
		out.severity = 2
	}
	took, status := strconv.Itoa(r.IntN(900)), []string{"200", "200", "200", "201", "304", "404", "500"}[r.IntN(7)]
	out.attributes = map[string]string{"device.id": out.device, "request.id": out.req}
	shapes := [...]string{
		"GET /v1/projects/p1/devices/" + out.device + " " + status + " in " + took + " ms",
		"published event " + out.req + " to topic telemetry.readings partition " + strconv.Itoa(r.IntN(16)),
		"connection from 10." + strconv.Itoa(r.IntN(250)) + "." + strconv.Itoa(r.IntN(250)) + ".7 closed after " + took + " s",
		"Retrying upload of segment " + strconv.Itoa(r.IntN(100000)) + " after timeout",
		"device " + out.device + " reported temperature " + strconv.Itoa(r.IntN(90)) + " C, humidity " + took,
		"cache miss for key sessions/" + out.req,
		"token of subject user-" + strconv.Itoa(r.IntN(20000)) + " refreshed",
		"query planned in " + took + " us, 3 shards, rows=" + strconv.Itoa(r.IntN(1_000_000)),
		"failed to reach upstream https://api.example.net/v2/" + out.service + ": connection refused",
		"scheduled job compaction-" + strconv.Itoa(r.IntN(64)) + " finished, reclaimed " + took + " MiB",
		"certificate of " + out.device + " expires in " + strconv.Itoa(r.IntN(90)) + " days",
		"User signed in from a new location; asked for the second factor",
	}
	shape := r.IntN(len(shapes))
	out.body = shapes[shape]
	for i, k := range []string{"http.status_code", "duration_ms", "thread", "attempt"} {
		if i < r.IntN(5) {
			out.attributes[k] = []string{status, took, "worker-" + strconv.Itoa(r.IntN(8)), strconv.Itoa(r.IntN(3))}[i]
		}
	}
	if n%rareEvery == rareEvery/2 {
		out.body += " " + rareWord(int(n/rareEvery))
	}
	return out
}

// rareEvery is how many records there are for one with a rare word; of each
// word there are few.
const rareEvery = 10_000

// rareWord is one of ten words that are rare.
func rareWord(n int) string { return "quokka" + strings.Repeat("z", n%10) }

// entry is the record as ours takes it.
func (r *record) entry() logstore.Entry {
	return logstore.Entry{
		Project: "p1", Bucket: "_Default", Log: "app", Time: r.time, Received: r.time.Add(3 * time.Millisecond), InsertID: r.insertID,
		Severity: ofGoogle[r.severity], ResourceType: "service", ResourceLabels: r.resource, Labels: r.attributes,
		Trace: r.trace, SpanID: r.span, Payload: logstore.Payload{Kind: logstore.Text, Data: []byte(r.body)}, Origin: "bench", Seq: r.sequence,
	}
}

// entries are the records as ours takes them.
func entries(records []record) []logstore.Entry {
	all := make([]logstore.Entry, len(records))
	for i := range records {
		all[i] = records[i].entry()
	}
	return all
}
