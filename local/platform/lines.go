package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/sdk/fault"
)

// The lines of functions that wait to be kept, and how they are taken: as many
// at once, or as many bytes, or what came within the delay.
const (
	maxLines  = 1 << 14
	lineBatch = 1000
	lineBytes = 4 << 20
	lineDelay = 250 * time.Millisecond
)

// drainLines is how long what was printed last may take once the platform stops.
const drainLines = 5 * time.Second

// linesDoor is the stream of the ledger that lines are counted in that are not
// kept. The reasons are those here, those of the intake for an entry, and those of
// its errors.
const (
	linesDoor    = "logging-functions"
	linesTooFast = "PRINTED_TOO_FAST"
	linesStopped = "STOPPED"
)

// lines keeps what functions print, in the logs of their projects. The log of a
// line is stdout or stderr, as those of containers are elsewhere. What is not
// kept is counted.
type lines struct {
	queue chan podlog.Line
	write func(context.Context, []logstore.Entry) ([]intake.Outcome, error)
	lost  func(project, door, reason string, n int)
	log   *slog.Logger
}

// newLines makes lines that write to an intake and tell who counts of losses.
func newLines(write func(context.Context, []logstore.Entry) ([]intake.Outcome, error), lost func(project, door, reason string, n int), log *slog.Logger) *lines {
	return &lines{queue: make(chan podlog.Line, maxLines), write: write, lost: lost, log: log}
}

// keep has a line kept, if it can be at once: who prints does not wait.
func (l *lines) keep(line podlog.Line) {
	select {
	case l.queue <- line:
	default:
		l.lost(line.Namespace, linesDoor, linesTooFast, 1)
	}
}

// run writes lines until ctx ends, and then, for a bounded time, those that wait.
func (l *lines) run(ctx context.Context) {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		late := time.NewTimer(drainLines)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-writing.Done():
		}
	})()
	ticker := time.NewTicker(lineDelay)
	defer ticker.Stop()
	var batch []logstore.Entry
	size := 0
	flush := func() {
		l.put(writing, batch)
		batch, size = nil, 0 // the intake may still have it
	}
	take := func(line podlog.Line) {
		e := entryOf(line)
		batch, size = append(batch, e), size+e.Size()
		if len(batch) >= lineBatch || size >= lineBytes {
			flush()
		}
	}
	for ctx.Err() == nil {
		select {
		case line := <-l.queue:
			take(line)
		case <-ticker.C:
			flush()
		case <-ctx.Done():
		}
	}
	for {
		select {
		case line := <-l.queue:
			take(line)
		default:
			flush()
			return
		}
	}
}

// put writes entries, and counts those that are not kept.
func (l *lines) put(ctx context.Context, entries []logstore.Entry) {
	if len(entries) == 0 {
		return
	}
	if ctx.Err() != nil {
		l.count(entries, func(int) string { return linesStopped })
		return
	}
	outcomes, err := l.write(ctx, entries)
	switch {
	case err != nil && ctx.Err() != nil:
		l.count(entries, func(int) string { return linesStopped })
	case err != nil:
		l.log.Warn("what functions printed cannot be kept", slog.Int("lines", len(entries)), slog.Any("error", err))
		l.count(entries, func(int) string { return fault.ReasonOf(err) })
	default:
		l.count(entries, func(i int) string {
			if outcomes[i].Err == nil {
				return ""
			}
			return fault.ReasonOf(outcomes[i].Err)
		})
	}
}

// count counts the entries for which there is a reason.
func (l *lines) count(entries []logstore.Entry, reason func(i int) string) {
	type line struct{ project, reason string }
	lost := map[line]int{}
	for i := range entries {
		if r := reason(i); r != "" {
			lost[line{entries[i].Project, r}]++
		}
	}
	for at, n := range lost {
		l.lost(at.project, linesDoor, at.reason, n)
	}
}

// entryOf is the entry of a line of a function.
func entryOf(l podlog.Line) logstore.Entry {
	e := logstore.Entry{
		Project: l.Namespace, Bucket: loggingv1.DefaultBucket, Log: l.Stream, Time: l.Time.UTC(), Received: l.Time.UTC(),
		ResourceType: "knative_revision", ResourceLabels: map[string]string{"service_name": l.Service, "revision_name": l.Revision},
		Labels: map[string]string{"pod_name": l.Name}, Payload: logstore.Payload{Kind: logstore.Text, Data: []byte(strings.ToValidUTF8(l.Text, "\uFFFD"))},
	}
	if l.Stream == "stderr" {
		e.Severity = logstore.Error
	}
	if len(l.Text) == 0 || l.Text[0] != '{' {
		return e
	}
	var said struct {
		Severity string `json:"severity"`
		Level    string `json:"level"` // as log/slog has it
	}
	var compact bytes.Buffer
	if json.Compact(&compact, e.Payload.Data) != nil {
		return e
	}
	e.Payload = logstore.Payload{Kind: logstore.JSON, Data: compact.Bytes()}
	if json.Unmarshal(compact.Bytes(), &said) == nil {
		if s, ok := logstore.ParseSeverity(cmp.Or(said.Severity, said.Level)); ok {
			e.Severity = s
		}
	}
	return e
}
