package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Record is a record as it is handed on: one of Activity and Change is not nil.
// Those have no messages and no fields before and after, which only JSON has.
type Record struct {
	Activity *resourcev1.ActivityLog
	Change   *resourcev1.ResourceChangeLog
	// ID is the record's, and Project the id of the project that it belongs to:
	// that of the resource, or else of the caller; "" is the platform's.
	ID, Project string
	// JSON is the whole record, compact, in the JSON form of its message.
	JSON []byte
}

// RelayOptions configure a Relay.
type RelayOptions struct {
	// Name is that of its cursor, "audit" if empty: who keeps the records for
	// himself has one of his own. Of two that run under one name each sees what is
	// new while it runs, and nobody what came while it did not.
	Name string
	// Labels are those of the records of a resource, which is given without
	// secrets, as it is after the change or was before its deletion. Nil is none.
	Labels func(r *schema.Resource, m proto.Message) map[string]string
	// MaxRecord bounds the JSON of a change: of a larger one the fields before and
	// after are left out. 0 is 96 KiB, so that a record is an entry of a log.
	MaxRecord int
	// Logger is told what cannot be read; nil discards.
	Logger *slog.Logger
}

// Relay makes records of the notes and changes of a store, and hands them on: at
// least once, in the order of the commits, with the same ids and the same bytes
// whenever they come. The changes stay in the store until then.
type Relay struct {
	st *store.Store
	to func(context.Context, []Record) error
	o  RelayOptions
	// identity is the store's, "" until it was read.
	identity string
}

// NewRelay makes a Relay that hands on with that function. It must return nil
// only once the records are safe; those of a call that failed come again.
func NewRelay(st *store.Store, to func(context.Context, []Record) error, o RelayOptions) *Relay {
	if o.Name == "" {
		o.Name = "audit"
	}
	if o.MaxRecord <= 0 {
		o.MaxRecord = 96 << 10
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Relay{st: st, to: to, o: o}
}

// Run hands on until ctx ends. It must be called once.
func (r *Relay) Run(ctx context.Context) error {
	return r.st.TailOr(ctx, r.o.Name, func(ctx context.Context, changes []store.Change) error {
		records, err := r.Records(ctx, changes)
		if err != nil || len(records) == 0 {
			return err
		}
		return r.hand(ctx, records)
	}, r.missed)
}

// hand hands records on.
func (r *Relay) hand(ctx context.Context, records []Record) error {
	if err := r.to(ctx, records); err != nil {
		return fmt.Errorf("handing on records of the audit: %w", err)
	}
	return nil
}

// MissedMethod is the method of the record that says which changes have none: they were
// trimmed before they were read, since who reads was away for too long. Its labels
// "after" and "through" are the numbers of the last change before them and of the last of
// them, and its status has the reason CHANGES_MISSED.
const MissedMethod = "selvedge.audit.v1.Relay.Missed"

// dataLoss is google.rpc.Code's DATA_LOSS.
const dataLoss = 15

// missed hands on the record of changes that were trimmed before they were read.
func (r *Relay) missed(ctx context.Context, after, through store.Seq) error {
	identity, err := r.st.Identity(ctx)
	if err != nil {
		return err
	}
	log := &resourcev1.ActivityLog{
		Id: fmt.Sprintf("%s-%012x-missed-%012x", identity, int64(after), int64(through)), Time: timestamp(time.Now()),
		Category: resourcev1.ActivityLog_SERVER_ERROR, Service: "audit.selvedge.dev", Method: MissedMethod,
		Labels: map[string]string{"after": strconv.FormatInt(int64(after), 10), "through": strconv.FormatInt(int64(through), 10)},
		Status: &resourcev1.ActivityStatus{
			Code: dataLoss, Reason: "CHANGES_MISSED",
			Message: fmt.Sprintf("the changes after %d and up to %d were trimmed before they were read: their records are missing here", after, through),
		},
	}
	body, err := encode(log, nil)
	if err != nil {
		return err
	}
	return r.hand(ctx, []Record{{Activity: log, ID: log.GetId(), JSON: body}})
}

// Records makes the records of whole transactions.
func (r *Relay) Records(ctx context.Context, changes []store.Change) (all []Record, err error) {
	if r.identity == "" {
		if r.identity, err = r.st.Identity(ctx); err != nil {
			return nil, err
		}
	}
	for from, i := 0, 0; i < len(changes); i++ {
		if !changes[i].Last {
			continue
		}
		records, err := r.transaction(changes[from : i+1])
		if err != nil {
			return nil, err
		}
		all, from = append(all, records...), i+1
	}
	return all, nil
}

// transaction makes the records of one transaction: its changes, and the calls
// that its notes are of.
func (r *Relay) transaction(changes []store.Change) ([]Record, error) {
	info := &resourcev1.TransactionInfo{
		Store: r.identity, First: int64(changes[0].Seq), Last: int64(changes[len(changes)-1].Seq), Time: timestamp(changes[0].Time),
	}
	var notes []*resourcev1.ActivityNote
	var done []*difference
	for _, c := range changes {
		if c.Type != store.NoteType {
			d, err := r.difference(c)
			if err != nil {
				return nil, err
			}
			if !d.idle {
				done = append(done, d)
			}
			continue
		}
		n := &resourcev1.ActivityNote{}
		if err := proto.Unmarshal(c.After, n); err != nil {
			// A later release's, or none of ours: nothing else waits for it.
			r.o.Logger.Error("a note of a call cannot be read", slog.Int64("seq", int64(c.Seq)), slog.Any("error", err))
			continue
		}
		notes = append(notes, n)
	}
	var call *resourcev1.ActivityNote // whose the changes are
	if len(done) > 0 && len(notes) > 0 {
		call = notes[0]
	}
	out := make([]Record, 0, len(changes))
	for _, d := range done {
		rec, err := r.change(d, call.GetLog(), info)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	for _, n := range notes {
		if n.GetPart() {
			continue
		}
		var of []*difference
		if n == call {
			of, n.Log.Transaction = done, info
		}
		rec, err := r.activity(n, of)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// change is the record of a change, of the call of that log, nil for none known.
func (r *Relay) change(d *difference, call *resourcev1.ActivityLog, info *resourcev1.TransactionInfo) (Record, error) {
	c := d.Change
	log := &resourcev1.ResourceChangeLog{
		// In the order of the commits as text too. Where a database was set back
		// to what it was its numbers come again, but not with the same time.
		Id:        fmt.Sprintf("%s-%012x-%s", r.identity, int64(c.Seq), strconv.FormatInt(c.Time.UnixNano(), 36)),
		RequestId: clip(c.Info.RequestID, 256), ActivityId: call.GetId(), Time: timestamp(c.Time), Category: d.category(),
		Principal: c.Info.Principal, Method: call.GetMethod(), Region: call.GetRegion(),
		Resource: string(c.Name), ResourceType: c.Type, Verb: d.verb(), Paths: d.paths,
		PreviousVersion: store.FormatVersion(c.BeforeVersion), Version: store.FormatVersion(c.Seq), Reason: c.Reason, Transaction: info,
	}
	if log.GetPrincipal() == "" {
		log.Principal = call.GetPrincipal()
	}
	if d.typ != nil {
		log.Service = d.typ.Service.Domain
		if r.o.Labels != nil && d.object() != nil {
			log.Labels = r.o.Labels(d.typ, d.object())
		}
	}
	if log.GetVerb() == resourcev1.ResourceChangeLog_DELETED {
		log.Version = ""
	}
	extra := []member{{"previous", d.before}, {"current", d.after}}
	if size := len(d.before) + len(d.after); size > r.o.MaxRecord {
		log.Omitted, extra = &resourcev1.OmittedPayload{Type: c.Type, Size: int64(size)}, nil
	}
	if !textsFit(log.GetPaths(), r.o.MaxRecord/2) {
		log.Paths = nil
	}
	body, err := encode(log, extra)
	return Record{Change: log, ID: log.GetId(), Project: projectOf(log.GetResource(), log.GetPrincipal()), JSON: body}, err
}

// activity is the record of a call, with what changed of the resource that it
// was about.
func (r *Relay) activity(n *resourcev1.ActivityNote, done []*difference) (Record, error) {
	log := n.GetLog()
	var extra []member
	var main *difference
	for _, d := range done {
		if string(d.Name) == log.GetResource() && (log.GetResourceType() == "" || log.GetResourceType() == d.Type) {
			main = d
			break
		}
	}
	if log.GetCategory() == resourcev1.ActivityLog_CATEGORY_UNSPECIFIED {
		log.Category = resourcev1.ActivityLog_OPERATION
		if m, ok := r.st.Types().Method(protoreflectName(log.GetMethod())); ok && main != nil && m.Verb != resourcev1.Method_METHOD_UNSPECIFIED {
			if log.Category = main.category(); m.Verb == resourcev1.Method_DELETE {
				log.Category = resourcev1.ActivityLog_DELETION // also of what is not gone yet
			}
		}
	}
	if main != nil {
		if log.GetResourceType() == "" {
			log.ResourceType = main.Type
		}
		if r.o.Labels != nil && main.typ != nil && main.object() != nil {
			log.Labels = r.o.Labels(main.typ, main.object())
		}
		if len(main.before)+len(main.after) <= r.o.MaxRecord && textsFit(main.paths, r.o.MaxRecord/2) {
			log.Paths = main.paths
			extra = append(extra, member{"before", main.before}, member{"after", main.after})
		}
	}
	for _, p := range []struct {
		name string
		any  typed
		omit **resourcev1.OmittedPayload
	}{{"request", n.GetRequest(), &log.OmittedRequest}, {"response", n.GetResponse(), &log.OmittedResponse}} {
		if p.any.GetTypeUrl() == "" {
			continue
		}
		text, err := r.message(p.any)
		if err != nil || len(text) > r.o.MaxRecord/3 {
			*p.omit = &resourcev1.OmittedPayload{Type: p.any.GetTypeUrl()[len(typePrefix):], Size: int64(len(p.any.GetValue()))}
			continue
		}
		extra = append(extra, member{p.name, text})
	}
	body, err := encode(log, extra)
	return Record{Activity: log, ID: log.GetId(), Project: projectOf(log.GetResource(), log.GetPrincipal()), JSON: body}, err
}

// projectOf is the project of a resource, or else of a principal.
func projectOf(name, principal string) string {
	for _, n := range []string{name, principal} {
		p := resource.Name(n).Project()
		if _, err := resource.Project.Parse("projects/" + p); err == nil && p != resource.Wildcard {
			return p
		}
	}
	return ""
}
