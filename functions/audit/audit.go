// Package audit is the service of the audit: who did what, and what it was
// before.
//
// Records are made by sdk/audit. A [Keeper] takes them: first into the trail,
// which cannot be altered unseen (logstore/audit), then into the log store, as
// entries of two logs of the bucket _Audit, where the [Service] finds them.
// What the resources of the service say about recording is sdk/audit/rules.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/audit/rules"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
)

// Options are what a Service needs besides its store.
type Options struct {
	// Service configures the standard methods. Hooks and custom methods are added
	// to it. Without its Audit, reads of the audit are not recorded.
	Service service.Options
	// Logs is where the entries of the records are.
	Logs logstore.Reader
	// Rules are told the store, whose resources they go by; nil makes new ones.
	Rules *rules.Rules
}

// Service is the audit service. It is safe for concurrent use.
type Service struct {
	*service.Service
	store *store.Store
	logs  logstore.Reader
	log   *slog.Logger
	now   func() time.Time
}

// NewService makes the service over a store with its types.
func NewService(st *store.Store, o Options) (*Service, error) {
	desc, err := describe(st.Types())
	if err != nil {
		return nil, err
	}
	s := &Service{store: st, logs: o.Logs, log: o.Service.Logger, now: o.Service.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Rules != nil {
		o.Rules.Use(st)
	}
	so := o.Service
	so.Hooks = append(so.Hooks,
		service.On(service.Hooks[*auditv1.AuditDescriptor]{Validate: s.checkDescriptor}),
		service.On(service.Hooks[*auditv1.AuditConfig]{Validate: s.checkConfig}))
	so.Methods = append(so.Methods,
		service.Handle("AuditLogs.ListActivityLogs", s.listActivityLogs),
		service.Handle("AuditLogs.ListResourceChangeLogs", s.listResourceChangeLogs),
		service.Handle("AuditLogs.GetResourceHistory", s.getResourceHistory))
	s.Service, err = service.New(desc, st, so)
	return s, err
}

// describe finds the service among the types of a store.
func describe(types *schema.Registry) (*schema.Service, error) {
	for _, s := range types.Services() {
		if s.Package == auditv1.File_functions_audit_v1_audit_proto.Package() {
			return s, nil
		}
	}
	return nil, errors.New("audit: the store does not have the service's types")
}

// checkDescriptor refuses labels of fields that the type does not have, or that
// are secret. The type may be of another store, of which nothing is known here.
func (s *Service) checkDescriptor(_ context.Context, _, d *auditv1.AuditDescriptor) error {
	keys := map[string]bool{}
	r, known := s.store.Types().Type(d.GetResourceType())
	for i, l := range d.GetLabels() {
		field := fmt.Sprintf("labels[%d]", i)
		if keys[l.GetKey()] {
			return invalid(field+".key", fmt.Errorf("there are two labels %s", l.GetKey()))
		}
		keys[l.GetKey()] = true
		if !known {
			continue
		}
		if _, err := rules.LabelPath(r, l.GetPath()); err != nil {
			return invalid(field+".path", err)
		}
	}
	for i, set := range d.GetPromotedLabelSets() {
		field := fmt.Sprintf("promotedLabelSets[%d].keys", i)
		for n, k := range set.GetKeys() {
			if !keys[k] {
				return invalid(field, fmt.Errorf("there is no label %s", k))
			}
			if slices.Contains(set.GetKeys()[:n], k) {
				return invalid(field, fmt.Errorf("the label %s is there twice", k))
			}
		}
	}
	return nil
}

// checkConfig refuses configs that would not count.
func (s *Service) checkConfig(_ context.Context, _, c *auditv1.AuditConfig) error {
	if id := resource.Name(c.GetName()).ID(); id != auditv1.DefaultConfig {
		return invalid("auditConfigId", fmt.Errorf("the config that counts is called %s, not %s", auditv1.DefaultConfig, id))
	}
	return nil
}

// invalid is the fault of a field.
func invalid(field string, err error) error {
	return &fault.Error{Op: "audit", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: err}
}
