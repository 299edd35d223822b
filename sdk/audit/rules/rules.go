// Package rules is what the resources of the audit service say about recording:
// which reads are recorded, with which labels, and for how long records are kept.
// They hold for every process that writes to the store that has the resources.
package rules

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// How long records are kept unless a config says otherwise: a year, and what it
// takes to look at it; but a month what is much and says little of who did what.
const (
	DefaultKeep = 400 * 24 * time.Hour
	ShortKeep   = 30 * 24 * time.Hour
)

// Rules are what the resources of the audit say about recording. The zero value
// goes by the defaults until it is told a store, and then by what is there,
// within [rulesAge]. It is safe for concurrent use: a Recorder asks it
// ([Rules.Reads]), and a Relay ([Rules.Labels]).
type Rules struct {
	st  atomic.Pointer[store.Store]
	now atomic.Pointer[ruled]
	mu  sync.Mutex
}

// rulesAge is how old what is known of the resources may be.
const rulesAge = 5 * time.Second

// ruled is what the resources say.
type ruled struct {
	until time.Time
	// configs are by the project's id, "" for the platform's.
	configs map[string]*auditv1.AuditConfig
	// labels are by the type, and then by the project's id, "" for services; so are
	// the keys of those that are promoted, a project's with those of services.
	labels   map[string]map[string][]label
	promoted map[string]map[string][]string
}

// label is a label of records.
type label struct {
	key  string
	path fieldpath.Path
}

// Use says whose resources count.
func (r *Rules) Use(st *store.Store) {
	r.st.Store(st)
	r.now.Store(nil)
}

// current is what the resources say.
func (r *Rules) current() *ruled {
	st, is := r.st.Load(), r.now.Load()
	if st == nil {
		return &ruled{}
	}
	now := st.Now()
	if is != nil && now.Before(is.until) {
		return is
	}
	if !r.mu.TryLock() { // somebody else looks
		return orNone(is)
	}
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), rulesAge)
	defer cancel()
	next, err := load(ctx, st)
	if err != nil {
		st.Logger().LogAttrs(ctx, slog.LevelWarn, "the rules of the audit cannot be read", slog.Any("error", err))
		next = orNone(is)
		copied := *next
		next = &copied
	}
	next.until = now.Add(rulesAge)
	r.now.Store(next)
	return next
}

// orNone is r, or that nothing is said.
func orNone(r *ruled) *ruled { return cmp.Or(r, &ruled{}) }

// load reads the resources.
func load(ctx context.Context, st *store.Store) (*ruled, error) {
	out := &ruled{configs: map[string]*auditv1.AuditConfig{}, labels: map[string]map[string][]label{}, promoted: map[string]map[string][]string{}}
	snap, _, err := st.Driver().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = snap.Close() }() // it was read only
	each := func(typ string, f func(m proto.Message)) error {
		r, ok := st.Types().Type(typ)
		if !ok {
			return nil
		}
		var failed error
		err := snap.Scan(ctx, store.Scan{Type: typ}, func(rec *store.Record) bool {
			m, err := store.Decode(r, rec)
			if failed = err; err == nil {
				f(m)
			}
			return err == nil
		})
		return cmp.Or(failed, err)
	}
	err = each(auditv1.ConfigType, func(m proto.Message) {
		if c, ok := m.(*auditv1.AuditConfig); ok {
			out.configs[resource.Name(c.GetName()).Project()] = c
		}
	})
	if err != nil {
		return nil, err
	}
	err = each(auditv1.DescriptorType, func(m proto.Message) {
		if d, ok := m.(*auditv1.AuditDescriptor); ok {
			out.describe(st.Types(), d)
		}
	})
	for _, of := range out.promoted {
		for project, keys := range of {
			of[project] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(keys, of[""]))))
		}
	}
	return out, err
}

// describe adds the labels of a descriptor. One of a service is about types of
// that service alone.
func (r *ruled) describe(types *schema.Registry, d *auditv1.AuditDescriptor) {
	typ, ok := types.Type(d.GetResourceType())
	if !ok {
		return
	}
	project := resource.Name(d.GetName()).Project()
	if project == "" && !strings.HasPrefix(d.GetName(), "services/"+typ.Service.Domain+"/") {
		return
	}
	if r.labels[typ.Type] == nil {
		r.labels[typ.Type], r.promoted[typ.Type] = map[string][]label{}, map[string][]string{}
	}
	for _, l := range d.GetLabels() {
		if p, err := LabelPath(typ, l.GetPath()); err == nil {
			r.labels[typ.Type][project] = append(r.labels[typ.Type][project], label{l.GetKey(), p})
		}
	}
	for _, set := range d.GetPromotedLabelSets() {
		r.promoted[typ.Type][project] = append(r.promoted[typ.Type][project], set.GetKeys()...)
	}
}

// Promoted are the labels that the records of a type of a project, "" for none, are
// looked for by: those that descriptors of the type promote, a service's and the
// project's, by what was known when records were last made.
func (r *Rules) Promoted(typ, project string) []string {
	is := r.now.Load()
	if is == nil {
		return nil
	}
	of := is.promoted[typ]
	if keys, own := of[project]; own {
		return keys
	}
	return of[""]
}

// config is the config that counts for a project, nil for none.
func (r *ruled) config(project string) *auditv1.AuditConfig {
	if c := r.configs[project]; c != nil {
		return c
	}
	return r.configs[""]
}

// Reads is which part of the reads of a method is recorded, for the Reads of
// [audit.Options]. Reads of the audit are all recorded.
func (r *Rules) Reads(m *schema.Method, project string, by iam.Principal) float64 {
	if m.Desc.ParentFile().Package() == auditv1.File_functions_audit_v1_audit_proto.Package() {
		return 1
	}
	for _, rule := range r.current().config(project).GetReads() {
		named := len(rule.GetMethods()) == 0 || slices.ContainsFunc(rule.GetMethods(), func(s string) bool { return fits(s, m.Name) })
		if named && (len(rule.GetPrincipals()) == 0 || slices.Contains(rule.GetPrincipals(), by.Name)) {
			return rule.GetRate()
		}
	}
	return audit.DefaultReads
}

// fits reports whether a method is one that a rule names.
func fits(pattern string, name protoreflect.FullName) bool {
	if start, all := strings.CutSuffix(pattern, "*"); all {
		return strings.HasPrefix(string(name), start)
	}
	return pattern == string(name)
}

// Labels are those of the records of a resource, for the Labels of
// [audit.RelayOptions].
func (r *Rules) Labels(typ *schema.Resource, m proto.Message) map[string]string {
	of := r.current().labels[typ.Type]
	if len(of) == 0 {
		return nil
	}
	project := typ.NameOf(m).Project()
	var out map[string]string
	for _, from := range []string{"", project} {
		for _, l := range of[from] {
			text := textOf(l.path, m)
			if text == "" {
				continue
			}
			if out == nil {
				out = map[string]string{}
			}
			out[l.key] = text
		}
		if project == "" {
			break
		}
	}
	return out
}

// maxLabel bounds the value of a label.
const maxLabel = 1024

// textOf is the first value at a path as text.
func textOf(p fieldpath.Path, m proto.Message) (text string) {
	p.Values(m.ProtoReflect(), func(v fieldpath.Value) bool {
		switch v.Interface().(type) {
		case protoreflect.Message, protoreflect.List, protoreflect.Map, nil:
			return false
		}
		text = v.String()
		return false
	})
	if len(text) > maxLabel {
		text = strings.ToValidUTF8(text[:maxLabel], "")
	}
	return text
}

// Keep is how long records of a category of a project are kept: both as the trail
// has them, with "_platform" for no project.
func (r *Rules) Keep(project, category string) time.Duration {
	if project == auditv1.Platform {
		project = ""
	}
	c := resourcev1.ActivityLog_Category(resourcev1.ActivityLog_Category_value[category])
	for _, rule := range r.current().config(project).GetRetention() {
		if len(rule.GetCategories()) == 0 || slices.Contains(rule.GetCategories(), c) {
			return rule.GetKeep().AsDuration()
		}
	}
	switch c {
	case resourcev1.ActivityLog_READ, resourcev1.ActivityLog_STATE_UPDATE, resourcev1.ActivityLog_INTERNAL:
		return ShortKeep
	default:
		return DefaultKeep
	}
}

// KeepEntries is how long the entries of the records of a project are kept: as
// long as those of the category that is kept longest, since a bucket is kept as
// a whole.
func (r *Rules) KeepEntries(project string) time.Duration {
	longest := time.Duration(0)
	for c := range resourcev1.ActivityLog_Category_value {
		longest = max(longest, r.Keep(project, c))
	}
	return longest
}

// LabelPath is the path of a label, which leads to no secret.
func LabelPath(r *schema.Resource, text string) (fieldpath.Path, error) {
	p, err := fieldpath.Parse(r.Message.Descriptor(), text)
	if err != nil {
		return p, err
	}
	for _, secret := range r.Secrets {
		if fieldpath.Covers(secret, p) || fieldpath.Covers(p, secret) {
			return p, fmt.Errorf("%s is secret", text)
		}
	}
	return p, nil
}
