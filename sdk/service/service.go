// Package service answers the methods of a service that is described in proto:
// the standard ones of google.aip.dev for every type of resource, without any
// code for the type, and custom ones by functions. A service is a proto file
// and some [Hook]s.
//
// Whatever the method, a call goes the same way: names are read, then the
// permission is asked for, and only then is anything looked at, so that who may
// not see a resource does not learn whether there is one. A permission that
// depends on the fields of a resource is asked for again with the resource as it
// was read: an update needs it before and after, and lists and watches show what
// it is for. What changes
// something happens in one transaction with the record of its request id, and
// with validate_only everything happens but the commit.
//
// A [Service] answers calls in process ([Service.Call], [Service.Stream]) and as
// a function of events ([Service.Handler]). It starts no goroutines and is safe
// for concurrent use.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// Options configure a Service.
type Options struct {
	// Authorize is nil if the principal of ctx has the permission on the
	// resource of that name and what is below it; "" is everything there is.
	// Otherwise it is a Denied or Unauthenticated fault. A nil Authorize denies
	// everything; [Allow] is the table of sdk/iam. It is asked again, with what
	// [iam.WithAnyResource] and [iam.WithResource] say, about whom it denies.
	Authorize func(ctx context.Context, permission string, name resource.Name) error
	// Visible says which objects a list or watch across parents ("projects/-")
	// shows to a principal who does not have the permission everywhere, as
	// Authorize would. Nil denies him such a list.
	Visible func(ctx context.Context, permission string, name resource.Name) bool
	// Hub answers watches. Nil is a service without.
	Hub Hub
	// Planner tells the consequences of deletions; nil plans that of the
	// resource alone.
	Planner Planner
	// Policies find the policy that a write happens under; nil for a service
	// whose store needs none.
	Policies Policies
	// Hooks are what types do beyond the standard methods.
	Hooks []Hook
	// Methods answer the custom methods, all of them.
	Methods []Custom
	// TokenKey seals page tokens; all processes of a service have the same.
	// Without one, tokens are still bound to their list, but who takes one
	// apart can read the name at which a page ended.
	TokenKey []byte
	// Audit records the calls; nil does not.
	Audit *audit.Recorder
	// Logger gets what no caller is told; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Hub serves watches; it is sdk/watch's.
type Hub interface {
	// Serve answers a standard Watch method until the context ends. Visible, if
	// not nil, says which objects may be shown.
	Serve(ctx context.Context, m *schema.Method, req proto.Message, visible watch.Visible, send func(proto.Message) error) error
}

// Planner tells the consequences of deletions; it is sdk/reference's.
type Planner interface {
	// Plan is what the deletion of the object would do now.
	Plan(ctx context.Context, st *store.Store, r *schema.Resource, name resource.Name) (*resourcev1.DeletionPlan, error)
}

// Policies find policies; it is sdk/policy's.
type Policies interface {
	// For is the policy that the resource of that name, which need not exist
	// yet, follows.
	For(ctx context.Context, name resource.Name) (*resourcev1.MultiRegionPolicy, error)
}

// Service answers the methods of one service.
type Service struct {
	schema  *schema.Service
	store   *store.Store
	options Options
	log     *slog.Logger
	now     func() time.Time
	// types are those of the service, also by their messages.
	types     map[*schema.Resource]*typ
	byMessage map[protoreflect.FullName]*typ
	methods   map[protoreflect.FullName]*method
	rules     *rules
	tokens    tokens
	// remembered counts the requests that were, to sweep now and then.
	remembered atomic.Int64
}

// New makes the service s over a store that has its types. Hooks and methods
// for what the service has not are errors, and so is a custom method that
// nothing answers.
func New(s *schema.Service, st *store.Store, o Options) (*Service, error) {
	out := &Service{
		schema: s, store: st, options: o, log: o.Logger, now: o.Now,
		types: map[*schema.Resource]*typ{}, byMessage: map[protoreflect.FullName]*typ{}, methods: map[protoreflect.FullName]*method{},
	}
	if out.log == nil {
		out.log = slog.New(slog.DiscardHandler)
	}
	if out.now == nil {
		out.now = time.Now
	}
	var checked []protoreflect.MessageDescriptor
	for _, r := range s.Resources {
		t := newType(r, st.Types())
		out.types[r], out.byMessage[r.Message.Descriptor().FullName()] = t, t
		checked = append(checked, r.Message.Descriptor())
	}
	if err := out.addHooks(o.Hooks); err != nil {
		return nil, err
	}
	customs, err := customsOf(s, o.Methods)
	if err != nil {
		return nil, err
	}
	for _, m := range s.Methods {
		x := newMethod(m, out.types[m.Resource])
		if x.serve, x.stream, err = out.answer(x, customs[m.Name]); err != nil {
			return nil, err
		}
		x.public = customs[m.Name].public
		x.findSecrets(st.Types())
		out.methods[m.Name] = x
		checked = append(checked, m.Input.Descriptor())
	}
	out.rules = newRules(checked)
	if out.tokens, err = newTokens(append([]byte(s.Domain+"\x00"), o.TokenKey...)); err != nil {
		return nil, fmt.Errorf("service: %s: %w", s.Domain, err)
	}
	return out, nil
}

// answer is what answers a method.
func (s *Service) answer(m *method, c Custom) (serve, stream, error) {
	switch m.Verb {
	case resourcev1.Method_GET:
		return s.get, nil, nil
	case resourcev1.Method_BATCH_GET:
		return s.batchGet, nil, nil
	case resourcev1.Method_LIST, resourcev1.Method_SEARCH:
		return s.list, nil, nil
	case resourcev1.Method_CREATE:
		return s.create, nil, nil
	case resourcev1.Method_UPDATE:
		return s.update, nil, nil
	case resourcev1.Method_DELETE:
		return s.delete, nil, nil
	case resourcev1.Method_WATCH:
		return nil, s.watch, nil
	case resourcev1.Method_METHOD_UNSPECIFIED:
	}
	return s.custom(m, c)
}

// Schema describes the service.
func (s *Service) Schema() *schema.Service { return s.schema }

// Call does a unary method for the principal of the context (sdk/iam). The
// request is the service's to keep, the response is the caller's.
func (s *Service) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	c, err := s.call(m, req)
	if err != nil {
		return nil, err
	}
	if c.m.serve == nil {
		return nil, fmt.Errorf("BUG: service: %s is a stream", m.Name)
	}
	return s.serve(ctx, c)
}

// serve does a call, and has it recorded.
func (s *Service) serve(ctx context.Context, c *call) (proto.Message, error) {
	ctx, record := s.options.Audit.Begin(ctx, s.store, c.m.Method, c.req.Interface())
	c.record = record
	out, err := c.m.serve(c.context(ctx), c)
	if err == nil && c.m.Verb == resourcev1.Method_METHOD_UNSPECIFIED {
		record.Answer(out)
	}
	record.End(ctx, err)
	return out, err
}

// Stream does a server-streaming method, as Call does. Send is called with one
// message after the other; its error ends the stream.
func (s *Service) Stream(ctx context.Context, m *schema.Method, req proto.Message, send func(proto.Message) error) error {
	c, err := s.call(m, req)
	if err != nil {
		return err
	}
	if c.m.stream == nil {
		return fmt.Errorf("BUG: service: %s is no stream", m.Name)
	}
	ctx, record := s.options.Audit.Begin(ctx, s.store, c.m.Method, c.req.Interface())
	c.record = record
	err = c.m.stream(c.context(ctx), c, send)
	if ctx.Err() != nil {
		record.End(ctx, nil) // who has seen enough ends it so
	} else {
		record.End(ctx, err)
	}
	return err
}

// call is one call of a method.
type call struct {
	m   *method
	req protoreflect.Message
	// key makes the call happen once; "" does not.
	key string
	// requestID is what the changes that come of the call say they come of.
	requestID string
	// record is that of the audit, nil for none.
	record *audit.Call
}

// call begins a call.
func (s *Service) call(m *schema.Method, req proto.Message) (*call, error) {
	x, ok := s.methods[m.Name]
	if !ok {
		return nil, fmt.Errorf("BUG: service: %s has no method %s", s.schema.Domain, m.Name)
	}
	r := req.ProtoReflect()
	if r.Descriptor().FullName() != m.Input.Descriptor().FullName() {
		return nil, fmt.Errorf("BUG: service: %s is called with a %s", m.Name, r.Descriptor().FullName())
	}
	key := text(r, x.requestID)
	return &call{m: x, req: r, key: key, requestID: key}, nil
}
