package loggingv1

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// Day is what a retention is a multiple of: entries go by whole days.
const Day = 24 * time.Hour

// maxLogID bounds the id of a log, as Google does.
const maxLogID = 511

// Check returns an Invalid fault with the field at fault, or nil.
func (d *LogDescriptor) Check() error {
	if err := CheckLogID(d.GetLogId()); err != nil {
		return invalid("log_id", "%s", err)
	}
	var keys []string
	for i, l := range d.GetLabels() {
		if slices.Contains(keys, l.GetKey()) {
			return invalid(fmt.Sprintf("labels[%d].key", i), "the label %q is there twice", l.GetKey())
		}
		keys = append(keys, l.GetKey())
	}
	for i, set := range d.GetPromotedLabelSets() {
		field := fmt.Sprintf("promoted_label_sets[%d]", i)
		for n, k := range set.GetKeys() {
			if !slices.Contains(keys, k) {
				return invalid(field, "%q is not among the labels", k)
			}
			if slices.Contains(set.GetKeys()[:n], k) {
				return invalid(field, "the label %q is there twice", k)
			}
		}
	}
	if n := len(d.Promoted()); n > MaxPromoted {
		return invalid("promoted_label_sets", "there are %d labels in all sets together, the most are %d", n, MaxPromoted)
	}
	return nil
}

// MaxPromoted is how many labels there may be in all promoted sets of a log
// together: as many as stores have an index of (logstore.MaxPromoted).
const MaxPromoted = 16

// Promoted are the labels in the promoted sets, each once, ascending.
func (d *LogDescriptor) Promoted() []string {
	var keys []string
	for _, set := range d.GetPromotedLabelSets() {
		keys = append(keys, set.GetKeys()...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// CheckLogID is why a text cannot be the id of a log, if it cannot: it has 1 to
// 511 letters, digits and "/_-." and does not begin with "/".
func CheckLogID(id string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_-.", r)
	}
	switch {
	case id == "":
		return fmt.Errorf("the id of a log is empty")
	case len(id) > maxLogID:
		return fmt.Errorf("the id of a log is over %d bytes", maxLogID)
	case id[0] == '/':
		return fmt.Errorf(`the id of a log begins with "/"`)
	case strings.ContainsFunc(id, odd):
		return fmt.Errorf(`the id of a log is letters, digits and "/_-."`)
	}
	return nil
}

// Check returns an Invalid fault with the field at fault, or nil. Old is what it
// replaces, nil if it is new; a locked one allows little.
func (b *Bucket) Check(old *Bucket) error {
	id := resource.Name(b.GetName()).ID()
	if strings.HasPrefix(id, "_") && id != DefaultBucket && id != AuditBucket {
		return invalid("name", `of the names that begin with "_" there are only %s and %s`, DefaultBucket, AuditBucket)
	}
	if r := b.GetRetention(); r != nil {
		if d := r.AsDuration(); r.CheckValid() != nil || d < Day || d%Day != 0 {
			return invalid("retention", "%s is not some whole days", d)
		}
	}
	for i, r := range b.GetRules() {
		for _, l := range r.GetLogs() {
			if id := strings.TrimSuffix(l, "*"); id != "" && CheckLogID(id) != nil {
				return invalid(fmt.Sprintf("rules[%d].logs", i), "%.100q: %s", l, CheckLogID(id))
			}
		}
	}
	if !old.GetLocked() {
		return nil
	}
	switch kept, keeps := old.GetRetention(), b.GetRetention(); {
	case !b.GetLocked():
		return locked("locked", "a locked bucket stays locked")
	case keeps != nil && (kept == nil || keeps.AsDuration() < kept.AsDuration()):
		return locked("retention", "a locked bucket keeps entries no shorter than before")
	case kept != nil && keeps == nil:
		return locked("retention", "a locked bucket keeps the retention that it says")
	case b.GetMaxBytes() != 0 && (old.GetMaxBytes() == 0 || b.GetMaxBytes() < old.GetMaxBytes()):
		return locked("max_bytes", "a locked bucket keeps no less than before")
	}
	return nil
}

// Unlocked is the fault of deleting a locked bucket, or nil.
func (b *Bucket) Unlocked() error {
	if b.GetLocked() {
		return locked("locked", "a locked bucket is not deleted")
	}
	return nil
}

// invalid is the fault of a field.
func invalid(field, format string, args ...any) error {
	return &fault.Error{Op: "logging.Check", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: fmt.Errorf(format, args...)}
}

// locked is the fault of a change that the lock of a bucket forbids.
func locked(field, text string) error {
	return &fault.Error{Op: "logging.Check", Kind: fault.Precondition, Reason: "BUCKET_LOCKED", Field: field, Err: fmt.Errorf("%s", text)}
}
