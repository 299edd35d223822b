package platform

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"selvedge.dev/functions/logging"
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
		return clickhouse.Open(ctx, clickhouse.Options{DSN: p.config.Logs, Once: true, Repeated: p.repeated(), Logger: p.log})
	}
	return embedded.Open(filepath.Join(p.config.Data, "logs", "store"), embedded.Options{Once: true, Promoted: p.promotedLabels, Logger: p.log})
}

// promotedLabels implements logstore.Promoted, also of entries that come before it is
// known where that is said.
func (p *Platform) promotedLabels(e *logstore.Entry) []string {
	if by := p.promoted.Load(); by != nil {
		return (*by)(e)
	}
	return nil
}

// promote says where it is said which labels are promoted: of the records of the
// audit by its descriptors, of others by those of logs.
func (p *Platform) promote() {
	by := logstore.Promoted(func(e *logstore.Entry) []string {
		if e.Bucket == auditBucket {
			return p.auditRules.Promoted(e.ResourceType, e.Project)
		}
		return p.logging.Promoted(e)
	})
	p.promoted.Store(&by)
}

// repeated are the buckets that every platform on the database writes the same
// entries to: each has all records of the audit.
func (p *Platform) repeated() []string {
	if p.config.Database == "" {
		return nil
	}
	return []string{auditBucket}
}

// openLogDoors makes the doors of log entries.
func (p *Platform) openLogDoors() {
	p.promote()
	p.logDoors = logging.NewDoors(logging.Options{
		Registry: p.logging, Intake: p.intake, Reader: p.logs, Resources: p.metrics, Ledger: p.losses,
		Allow: p.access.Allow, Leave: gateway.Leave, Logger: p.log,
	})
	p.lines = newLines(p.intake.Write, p.logDoors.Lost, p.log)
}

// runLogs deletes what is older than it is to be kept, until ctx ends, moves into
// the logs what earlier releases had elsewhere, and follows which labels are
// promoted.
func (p *Platform) runLogs(ctx context.Context) error {
	worker := retention.Worker{Keeper: p.logs, Policies: p.logPolicies, Logger: p.log}
	old := alerts{db: p.db, put: p.logDoors.PutEvents, lost: p.logDoors.Lost, log: p.log, retry: alertRetry}
	var running sync.WaitGroup
	running.Go(func() { old.move(ctx) })
	running.Go(func() { worker.Run(ctx) })
	if p.config.Logs == "" { // ClickHouse need not know
		running.Go(func() { p.logging.Run(ctx) })
	}
	running.Wait()
	return nil
}

// tellLines bounds how long the ledger may take at the stop.
const tellLines = 5 * time.Second

// runFunctions runs the functions of the projects until ctx ends, and keeps what
// they print, what they print at their end too.
func (p *Platform) runFunctions(ctx context.Context) error {
	printing, silent := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		p.lines.run(printing)
	}()
	err := p.serving.Run(ctx)
	silent()
	<-kept
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellLines)
	defer cancel()
	return errors.Join(err, p.logDoors.Tell(last))
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
