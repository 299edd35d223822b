package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"time"

	"selvedge.dev/functions/logging"
	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/logstore"
	"selvedge.dev/logstore/clickhouse"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/retention"
	"selvedge.dev/sdk/gateway"
)

// How long entries are kept, and how many bytes of a bucket, unless the bucket
// says otherwise.
const (
	keepLogs  = 30 * 24 * time.Hour
	bucketMax = 10 << 30
)

// openLogs opens the store of log entries, and the journal in front of it.
func (p *Platform) openLogs(ctx context.Context) (err error) {
	if p.logs, err = p.connectLogs(ctx); err != nil {
		return err
	}
	p.onClose(p.logs.Close)
	p.intake, err = intake.Open(filepath.Join(p.config.Data, "logs", "intake"), p.logs, intake.Options{MaxBytes: p.config.JournalBytes, Logger: p.log})
	if err != nil {
		return err
	}
	p.onClose(p.intake.Close)
	return nil
}

// connectLogs opens the store of log entries where the configuration says.
func (p *Platform) connectLogs(ctx context.Context) (logstore.Store, error) {
	if p.config.Logs != "" {
		return clickhouse.Open(ctx, clickhouse.Options{DSN: p.config.Logs, Once: true, Logger: p.log})
	}
	return embedded.Open(filepath.Join(p.config.Data, "logs", "store"), embedded.Options{Once: true, Logger: p.log})
}

// openLogDoors makes the doors of log entries.
func (p *Platform) openLogDoors() {
	p.logDoors = logging.NewDoors(logging.Options{
		Registry: p.logging, Intake: p.intake, Reader: p.logs, Resources: p.metrics, Ledger: p.losses,
		Allow: p.access.Allow, Leave: gateway.Leave, Logger: p.log,
	})
	p.lines = make(chan podlog.Line, maxLines)
}

// runLogs keeps what functions print, and deletes what is older than it is to be
// kept, until ctx ends.
func (p *Platform) runLogs(ctx context.Context) error {
	worker := retention.Worker{Keeper: p.logs, Policies: p.logPolicies, Logger: p.log}
	done := make(chan struct{})
	go func() {
		defer close(done)
		worker.Run(ctx)
	}()
	p.keepLines(ctx)
	<-done
	return nil
}

// logPolicies are how long each bucket that has entries keeps them.
func (p *Platform) logPolicies(ctx context.Context) ([]retention.Policy, error) {
	usage, err := p.logs.Usage(ctx, "")
	if err != nil {
		return nil, err
	}
	type bucket struct{ project, id string }
	all := map[bucket]retention.Policy{}
	for _, u := range usage {
		all[bucket{u.Project, u.Bucket}] = retention.Policy{Project: u.Project, Bucket: u.Bucket, Age: keepLogs, Bytes: bucketMax}
	}
	own, err := p.logging.Policies(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range own {
		if _, used := all[bucket{b.Project, b.Bucket}]; used {
			all[bucket{b.Project, b.Bucket}] = retention.Policy{
				Project: b.Project, Bucket: b.Bucket, Age: cmp.Or(b.Retention, keepLogs), Bytes: cmp.Or(b.MaxBytes, bucketMax),
			}
		}
	}
	out := make([]retention.Policy, 0, len(all))
	for at, policy := range all {
		if at.id == auditBucket { // for how long the audit says, whatever it takes
			policy.Age, policy.Bytes = p.auditRules.KeepEntries(at.project), 0
		}
		out = append(out, policy)
	}
	return out, nil
}

// The lines of functions that wait to be kept, and how they are taken.
const (
	maxLines  = 1 << 14
	lineBatch = 1000
	lineDelay = 250 * time.Millisecond
)

// keepLine has a line that a function printed kept, if it can be at once.
func (p *Platform) keepLine(l podlog.Line) {
	select {
	case p.lines <- l:
	default:
		p.linesLost.Add(1)
	}
}

// keepLines writes what functions print to the logs of their projects until ctx
// ends: the logs are stdout and stderr, as those of containers are elsewhere. A
// line that is a JSON object is one, with the severity that it says.
func (p *Platform) keepLines(ctx context.Context) {
	tick := time.NewTicker(lineDelay)
	defer tick.Stop()
	var batch []logstore.Entry
	for ended := false; !ended; {
		select {
		case l := <-p.lines:
			if batch = append(batch, entryOf(l)); len(batch) < lineBatch {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		if n := p.linesLost.Swap(0); n > 0 {
			p.log.Warn("functions print faster than their lines can be kept", slog.Int64("lost", n))
		}
		if len(batch) == 0 {
			continue
		}
		if _, err := p.intake.Write(context.WithoutCancel(ctx), batch); err != nil {
			p.log.Warn("what functions printed cannot be kept", slog.Int("lines", len(batch)), slog.Any("error", err))
		}
		batch = batch[:0:0] // the intake may still have it
	}
}

// entryOf is the entry of a line of a function.
func entryOf(l podlog.Line) logstore.Entry {
	e := logstore.Entry{
		Project: l.Namespace, Bucket: loggingv1.DefaultBucket, Log: l.Stream, Time: l.Time.UTC(), Received: l.Time.UTC(),
		ResourceType: "knative_revision", ResourceLabels: map[string]string{"service_name": l.Service, "revision_name": l.Revision},
		Labels: map[string]string{"pod_name": l.Name}, Payload: logstore.Payload{Kind: logstore.Text, Data: []byte(l.Text)},
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
	if json.Compact(&compact, []byte(l.Text)) != nil {
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
