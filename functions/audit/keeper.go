package audit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Trail is where records cannot be altered unseen; it is logstore/audit's.
type Trail interface {
	// Append makes records durable. Those that it has, by their ids, it leaves
	// out. An Invalid error is about the records, any other about the trail.
	Append(ctx context.Context, records []chain.Record) ([]trail.Place, error)
}

// Logs is where records are found; logstore/intake is one.
type Logs interface {
	// Write makes entries durable. Those that it has it leaves out. The result has
	// for each of them nil or why it was refused; an error is of all.
	Write(ctx context.Context, entries []logstore.Entry) ([]error, error)
}

// Keeper takes the records of a relay. Its fields are not changed once it is
// used; it is safe for concurrent use.
type Keeper struct {
	// Trail is nil where there is none.
	Trail Trail
	Logs  Logs
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told of records that are refused; nil discards.
	Logger  *slog.Logger
	refused atomic.Int64
}

// Refused is how many records the trail or the logs refused for what they are:
// each is a defect, and is logged.
func (k *Keeper) Refused() int64 { return k.refused.Load() }

// Take makes records safe: first in the trail, then in the logs. It is the
// function of an [audit.Relay]. A record that is refused for what it is is left
// out: those behind it cannot wait for ever.
func (k *Keeper) Take(ctx context.Context, records []audit.Record) error {
	for len(records) > 0 {
		n, bytes := 0, 0
		for n < len(records) && (n == 0 || bytes+len(records[n].JSON) <= atOnce) {
			bytes += len(records[n].JSON)
			n++
		}
		if err := k.take(ctx, records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// atOnce is how many bytes of records are written at once: less than the trail
// and the logs take.
const atOnce = 4 << 20

// take is Take of as much as can be written at once.
func (k *Keeper) take(ctx context.Context, records []audit.Record) error {
	if k.Trail != nil {
		if err := k.chain(ctx, records); err != nil {
			return fmt.Errorf("audit: writing to the trail: %w", err)
		}
	}
	now := time.Now
	if k.Now != nil {
		now = k.Now
	}
	entries := make([]logstore.Entry, len(records))
	for i := range records {
		entries[i] = entryOf(&records[i], now())
	}
	outcomes, err := k.Logs.Write(ctx, entries)
	if err != nil {
		return fmt.Errorf("audit: writing to the logs: %w", err)
	}
	for i, err := range outcomes {
		if err != nil {
			k.refuse(ctx, "the logs", records[i].ID, err)
		}
	}
	return nil
}

// chain writes records to the trail: all at once, or one by one if one of them
// is refused.
func (k *Keeper) chain(ctx context.Context, records []audit.Record) error {
	all := make([]chain.Record, len(records))
	for i := range records {
		all[i] = recordOf(&records[i])
	}
	_, err := k.Trail.Append(ctx, all)
	if err == nil || !unfit(err) {
		return err
	}
	for _, r := range all {
		switch _, err := k.Trail.Append(ctx, []chain.Record{r}); {
		case err == nil:
		case unfit(err):
			k.refuse(ctx, "the trail", r.ID, err)
		default:
			return err
		}
	}
	return nil
}

// unfit reports whether an error is about what was to be written.
func unfit(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Invalid || kind == fault.TooLarge
}

// refuse counts a record that is refused.
func (k *Keeper) refuse(ctx context.Context, by, id string, err error) {
	k.refused.Add(1)
	if k.Logger != nil {
		k.Logger.LogAttrs(ctx, slog.LevelError, "a record of the audit is refused", slog.String("by", by), slog.String("id", id), slog.Any("error", err))
	}
}

// recordOf is a record as the trail has it.
func recordOf(r *audit.Record) chain.Record {
	at, category, log := about(r)
	return chain.Record{Project: cmp.Or(r.Project, auditv1.Platform), ID: r.ID, Time: at, Category: category.String(), Type: log, Data: r.JSON}
}

// about is when a record is of, its category and its log.
func about(r *audit.Record) (time.Time, resourcev1.ActivityLog_Category, string) {
	if c := r.Change; c != nil {
		return c.GetTime().AsTime(), c.GetCategory(), auditv1.ChangeLog
	}
	return r.Activity.GetTime().AsTime(), r.Activity.GetCategory(), auditv1.ActivityLog
}

// entryOf is a record as an entry of a log.
func entryOf(r *audit.Record, now time.Time) logstore.Entry {
	at, category, log := about(r)
	e := logstore.Entry{
		Project: cmp.Or(r.Project, auditv1.Platform), Bucket: auditv1.Bucket, Log: log, Time: at, Received: now.UTC(), InsertID: r.ID,
		Severity: severityOf(category), Payload: logstore.Payload{Kind: logstore.JSON, Data: r.JSON},
	}
	name := ""
	if c := r.Change; c != nil {
		e.ResourceType, name, e.Labels = c.GetResourceType(), c.GetResource(), c.GetLabels()
	} else {
		e.ResourceType, name, e.Labels = r.Activity.GetResourceType(), r.Activity.GetResource(), r.Activity.GetLabels()
	}
	if name != "" {
		e.ResourceLabels = map[string]string{nameLabel: name}
	}
	return e
}

// nameLabel is the label of the resource of an entry that has its name.
const nameLabel = "name"

// severityOf is how bad a record is.
func severityOf(c resourcev1.ActivityLog_Category) logstore.Severity {
	switch c {
	case resourcev1.ActivityLog_REJECTED:
		return logstore.Warning
	case resourcev1.ActivityLog_SERVER_ERROR:
		return logstore.Error
	case resourcev1.ActivityLog_READ, resourcev1.ActivityLog_STATE_UPDATE, resourcev1.ActivityLog_CLIENT_ERROR:
		return logstore.Info
	default:
		return logstore.Notice
	}
}
