package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
)

// bucket is a bucket with what its rules refer to.
type bucket struct {
	name   resource.Name
	rules  []*rule
	locked bool
}

// rule is a rule of a bucket. A log of "" is none.
type rule struct {
	*loggingv1.BucketRule
	log string
}

// newBucket makes a bucket whose rules refer to descriptors by name.
func newBucket(b *loggingv1.Bucket, named map[string]*loggingv1.LogDescriptor) *bucket {
	out := &bucket{name: resource.Name(b.GetName()), locked: b.GetLocked()}
	for _, r := range b.GetRules() {
		out.rules = append(out.rules, &rule{r, named[r.GetLogDescriptor()].GetLogId()})
	}
	return out
}

// takes reports whether the bucket may have the entry.
func (b *bucket) takes(e *logstore.Entry) bool {
	return len(b.rules) == 0 || slices.ContainsFunc(b.rules, func(r *rule) bool { return r.fits(e) })
}

// fits reports whether all of the rule holds for the entry.
func (r *rule) fits(e *logstore.Entry) bool {
	if r.GetLogDescriptor() != "" && r.log != e.Log {
		return false
	}
	if len(r.GetLogs()) > 0 && !slices.ContainsFunc(r.GetLogs(), func(id string) bool {
		start, all := strings.CutSuffix(id, "*")
		return id == e.Log || all && strings.HasPrefix(e.Log, start)
	}) {
		return false
	}
	if len(r.GetResourceTypes()) > 0 && !slices.Contains(r.GetResourceTypes(), e.ResourceType) {
		return false
	}
	for key, values := range r.GetLabels() {
		has, ok := e.Labels[key]
		if !ok {
			has, ok = e.ResourceLabels[key]
		}
		if !ok || len(values.GetValues()) > 0 && !slices.Contains(values.GetValues(), has) {
			return false
		}
	}
	return true
}

// The reasons for which an entry is refused here; others are those of
// logstore.Entry.Check and of whoever takes it in.
const (
	// ReasonNotInBucket: no rule of the bucket fits the entry.
	ReasonNotInBucket = "NOT_IN_BUCKET"
	// ReasonLabelMissing: the log's descriptor requires a label that it lacks.
	ReasonLabelMissing = "LABEL_MISSING"
	// ReasonSeveralBuckets: the writer may write to several buckets, names none,
	// and may not write to the default one.
	ReasonSeveralBuckets = "SEVERAL_BUCKETS"
)

// reasonNoBucket is why a bucket that a request names is not found.
const reasonNoBucket = "NO_SUCH_BUCKET"

// check is why an entry cannot be in the bucket, nil if it can.
func (s *scope) check(b *bucket, e *logstore.Entry) error {
	for _, l := range s.logs[e.Log].GetLabels() {
		_, own := e.Labels[l.GetKey()]
		_, about := e.ResourceLabels[l.GetKey()]
		if l.GetRequired() && !own && !about {
			return refused(ReasonLabelMissing, "labels", "entries of the log %s have the label %q", e.Log, l.GetKey())
		}
	}
	if !b.takes(e) {
		return refused(ReasonNotInBucket, "logName", "no rule of %s allows the entry, of the log %s and about %s", b.name, e.Log, cmp.Or(e.ResourceType, "nothing"))
	}
	return nil
}

// refused is the fault of one entry.
func refused(reason, field, format string, args ...any) error {
	return &fault.Error{Op: "logging.write", Kind: fault.Invalid, Reason: reason, Field: field, Err: fmt.Errorf(format, args...)}
}

// allow asks whether the caller has a permission on a name.
func (d *Doors) allow(ctx context.Context, permission string, name resource.Name) error {
	if d.o.Allow == nil {
		return &fault.Error{Op: "logging.allow", Kind: fault.Denied, Field: permission, Err: errors.New("nobody has it: there is no policy")}
	}
	return d.o.Allow(ctx, permission, name)
}

// writable is the bucket that the caller's entries go to: the one that the
// request names; else the default one, or when that is not the caller's, the one
// of his own name, or the only one that he may write to.
func (d *Doors) writable(ctx context.Context, s *scope, named string) (*bucket, error) {
	if named != "" {
		name := resource.Name(bucketName(s.project, named))
		if err := d.allow(ctx, CreateEntries, name); err != nil {
			return nil, err
		}
		if b := s.buckets[named]; b != nil && named != loggingv1.AuditBucket {
			return b, nil
		}
		return nil, &fault.Error{Op: "logging.writable", Name: string(name), Kind: fault.NotFound, Reason: reasonNoBucket, Field: "bucket", Err: fmt.Errorf("there is no bucket %s to write to", name)}
	}
	fallback := s.buckets[loggingv1.DefaultBucket]
	denied := d.allow(ctx, CreateEntries, fallback.name)
	if denied == nil {
		return fallback, nil
	}
	if fault.KindOf(denied) != fault.Denied {
		return nil, denied
	}
	who := iam.PrincipalOf(ctx)
	if own := s.buckets[resource.Name(who.Name).ID()]; own != nil && d.allow(ctx, CreateEntries, own.name) == nil {
		return own, nil
	}
	var found *bucket
	for id, b := range s.buckets {
		if id == loggingv1.AuditBucket || d.allow(ctx, CreateEntries, b.name) != nil {
			continue
		}
		if found != nil {
			return nil, &fault.Error{
				Op: "logging.writable", Kind: fault.Invalid, Reason: ReasonSeveralBuckets, Field: bucketParameter,
				Err: fmt.Errorf("%s may write to several buckets: name one by ?%s= or the header %s", who.Name, bucketParameter, bucketHeader),
			}
		}
		found = b
	}
	if found == nil {
		return nil, denied
	}
	return found, nil
}

// ids are the ids of the buckets but that of the audit log, which is read by
// its name alone.
func (s *scope) ids() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.buckets)), func(id string) bool { return id == loggingv1.AuditBucket })
}

// reading is the permission to be asked for on a bucket in place of one to read.
func reading(permission, id string) string {
	if id == loggingv1.AuditBucket {
		return ListPrivate
	}
	return permission
}

// readable are the ids of the buckets that the caller has a permission on, but
// that of the audit log. Who has it on none is denied.
func (d *Doors) readable(ctx context.Context, s *scope, permission string) ([]string, error) {
	denied := d.allow(ctx, permission, resource.Name("projects/"+s.project))
	if denied == nil {
		return s.ids(), nil
	}
	if fault.KindOf(denied) != fault.Denied {
		return nil, denied
	}
	var out []string
	for _, id := range s.ids() {
		if d.allow(ctx, permission, s.buckets[id].name) == nil {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return nil, denied
	}
	return out, nil
}
