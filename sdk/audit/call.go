package audit

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Call is one call while it lasts. The methods of nil do nothing, so that a
// service without a Recorder needs no cases.
type Call struct {
	rec   *Recorder
	store *store.Store
	begun time.Time
	// method is nil for what came by a door, which is called and serves instead.
	method         *schema.Method
	called, serves string
	req            proto.Message
	// read is whether it changes nothing by what it is, manual whether it makes
	// its own transactions, quiet whether only a rejection is recorded.
	read, manual, quiet bool
	parent              *Call

	mu              sync.Mutex
	id              string
	by              iam.Principal
	known           bool
	about           resource.Name
	requestID       string
	granted, denied []*resourcev1.AskedPermission
	answer          proto.Message
	via             string
	dest            []string
	// noted is whether the note of the call is in the transaction, alive whether
	// that only shows signs of life, taken whether a call within this one is
	// recorded instead.
	noted, alive, taken bool
}

// Begin begins the record of a call of a service over a store. What is called
// inside of a transaction of another call is a part of that, and nil.
func (r *Recorder) Begin(ctx context.Context, st *store.Store, m *schema.Method, req proto.Message) (context.Context, *Call) {
	if r == nil {
		return ctx, nil
	}
	outer := Of(ctx)
	if outer != nil && !outer.quiet {
		if _, within := st.TxOf(ctx); within {
			return ctx, nil
		}
	}
	c := &Call{
		rec: r, store: st, begun: r.o.Now(), method: m, req: req, parent: outer, read: reads(m, req),
		manual: m.Verb == resourcev1.Method_METHOD_UNSPECIFIED && m.Options.GetTransaction() == resourcev1.Transaction_MANUAL,
		by:     principalOf(ctx), known: true,
	}
	if outer != nil {
		outer.mu.Lock()
		outer.taken, c.via = true, outer.via
		outer.mu.Unlock()
	}
	return context.WithValue(ctx, callKey{}, c), c
}

// reads reports whether a call changes nothing, whatever happens.
func reads(m *schema.Method, req proto.Message) bool {
	switch m.Verb {
	case resourcev1.Method_GET, resourcev1.Method_BATCH_GET, resourcev1.Method_LIST, resourcev1.Method_SEARCH, resourcev1.Method_WATCH:
		return true
	case resourcev1.Method_METHOD_UNSPECIFIED:
		if m.Options.GetTransaction() == resourcev1.Transaction_READ_ONLY {
			return true
		}
	case resourcev1.Method_CREATE, resourcev1.Method_UPDATE, resourcev1.Method_DELETE:
	}
	f := req.ProtoReflect().Descriptor().Fields().ByName("validate_only")
	return f != nil && f.Message() == nil && !f.IsList() && req.ProtoReflect().Get(f).Bool()
}

// maxAsked bounds the permissions of a record: a batch asks for hundreds.
const maxAsked = 16

// Asked says that a permission was asked for, and whether it was granted. The
// last word counts: one that was granted on terms that then were not met is
// denied.
func (c *Call) Asked(ctx context.Context, permission string, name resource.Name, granted bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.by, c.known = principalOf(ctx), true
	}
	same := func(a *resourcev1.AskedPermission) bool {
		return a.GetPermission() == permission && a.GetResource() == string(name)
	}
	to, other := &c.granted, &c.denied
	if !granted {
		to, other = other, to
	}
	*other = slices.DeleteFunc(*other, same)
	if len(*to) < maxAsked && !slices.ContainsFunc(*to, same) {
		*to = append(*to, &resourcev1.AskedPermission{Permission: permission, Resource: string(name)})
	}
}

// About says which resource the call is about.
func (c *Call) About(name resource.Name) {
	if c != nil {
		c.mu.Lock()
		c.about = name
		c.mu.Unlock()
	}
}

// Trying says that the transaction of the call begins, maybe again.
func (c *Call) Trying(requestID string) {
	if c != nil {
		c.mu.Lock()
		c.noted, c.alive, c.answer, c.requestID = false, false, nil, requestID
		c.mu.Unlock()
	}
}

// Answer says what the call is answered, if it ends well.
func (c *Call) Answer(m proto.Message) {
	if c != nil {
		c.mu.Lock()
		c.answer = m
		c.mu.Unlock()
	}
}

// PassedOn says that the call was passed on to a region.
func (c *Call) PassedOn(region string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.dest, region) {
		c.dest = append(c.dest, region)
	}
}

// End ends the call, and records it unless that is done. It returns when the
// record of a write or a denial is durable, which it tries for maxWait.
func (c *Call) End(ctx context.Context, err error) {
	if c == nil {
		return
	}
	category := c.category(err)
	rejected := category == resourcev1.ActivityLog_REJECTED
	c.mu.Lock()
	if err == nil && c.noted || c.quiet && (c.taken || !rejected) {
		c.mu.Unlock()
		return
	}
	rate := 1.0
	if c.alive && err == nil {
		category = resourcev1.ActivityLog_STATE_UPDATE
	}
	if c.method != nil && (c.read || c.alive) && !rejected && category != resourcev1.ActivityLog_SERVER_ERROR {
		var yes bool
		if rate, yes = c.rec.chosen(c.method, projectOf(c.resource(), c.by.Name), c.by); !yes {
			c.mu.Unlock()
			return
		}
	}
	if rejected && c.by.Kind == iam.Anonymous && c.rec.rejected.tooMany(c.rec.o.Now()) {
		c.mu.Unlock()
		return // counted, and recorded as a number
	}
	note := &resourcev1.ActivityNote{Log: c.log(ctx)}
	note.Log.Category, note.Log.Status = category, statusOf(err)
	if rate < 1 {
		note.Log.SampleRate = rate
	}
	c.payloads(note)
	c.mu.Unlock()

	x := queued{st: c.store, note: note, sampled: rate < 1}
	if (c.read || c.alive) && !rejected || err != nil && !rejected {
		c.rec.later(x)
		return
	}
	c.rec.now(ctx, x)
}

// category is how a call ended that is not noted with a transaction.
func (c *Call) category(err error) resourcev1.ActivityLog_Category {
	if err != nil {
		switch status := fault.KindOf(err).HTTPStatus(); {
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			return resourcev1.ActivityLog_REJECTED
		case status < http.StatusInternalServerError:
			return resourcev1.ActivityLog_CLIENT_ERROR
		}
		return resourcev1.ActivityLog_SERVER_ERROR
	}
	if c.read {
		return resourcev1.ActivityLog_READ
	}
	return resourcev1.ActivityLog_OPERATION
}

// maxMessage bounds the words of an error.
const maxMessage = 1024

// statusOf is what a caller is told of an error.
func statusOf(err error) *resourcev1.ActivityStatus {
	if err == nil {
		return nil
	}
	p := fault.ProblemOf(err).Error
	out := &resourcev1.ActivityStatus{Code: int32(fault.KindOf(err).Code()), Message: clip(p.Message, maxMessage)}
	for _, d := range p.Details {
		out.Reason, out.Field = d.Reason, clip(d.Metadata["field"], maxMessage)
	}
	return out
}

// clip is the beginning of a text, as valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// log is the record, but for how the call ended. c.mu is held.
func (c *Call) log(ctx context.Context) *resourcev1.ActivityLog {
	now := c.rec.o.Now()
	if c.requestID == "" {
		c.requestID = requestID(c.req)
	}
	out := &resourcev1.ActivityLog{
		Id: c.ID(), RequestId: clip(c.requestID, 256), Time: timestamppb.New(c.begun), Duration: durationpb.New(now.Sub(c.begun)),
		Principal: c.by.Name, KeyId: c.by.KeyID, Granted: c.granted, Denied: c.denied,
		Service: c.serves, Region: c.rec.o.Region, Host: c.rec.o.Host, ViaRegion: c.via, DestRegions: c.dest,
		Method: c.called, Resource: c.resource(),
	}
	if a := iam.AddressOf(ctx); a.IsValid() {
		out.ClientAddress = a.Unmap().String()
	}
	if c.parent != nil && c.parent.method != nil {
		c.parent.mu.Lock()
		out.ParentId = c.parent.ID()
		c.parent.mu.Unlock()
	}
	if m := c.method; m != nil {
		out.Method, out.Version = string(m.Name), versionOf(m)
		out.Service = serviceOf(c.store, m)
		if m.Resource != nil {
			out.ResourceType = m.Resource.Type
		}
	}
	return out
}

// resource is what the call is about: what it said, or else its request. c.mu is
// held.
func (c *Call) resource() string {
	if c.about == "" && c.method != nil {
		return clip(subject(c.method, c.req), maxMessage)
	}
	return clip(string(c.about), maxMessage)
}

// ID is the id of the record of the call. It is for who holds the call's lock,
// or has the call to himself.
func (c *Call) ID() string {
	if c.id == "" {
		c.id = c.store.NewUID()
	}
	return c.id
}

// addressOf is the address in that of a connection.
func addressOf(remote string) (netip.Addr, bool) {
	a, err := netip.ParseAddrPort(remote)
	return a.Addr(), err == nil
}

// versionOf is the version of a method: the last element of its package.
func versionOf(m *schema.Method) string {
	p := string(m.Desc.ParentFile().Package())
	return p[strings.LastIndexByte(p, '.')+1:]
}

// serviceOf is the domain of the service that has a method.
func serviceOf(st *store.Store, m *schema.Method) string {
	if m.Resource != nil {
		return m.Resource.Service.Domain
	}
	for _, s := range st.Types().Services() {
		if s.Package == m.Desc.ParentFile().Package() {
			return s.Domain
		}
	}
	return ""
}

// requestID is the id that a request says, "" for none.
func requestID(m proto.Message) string { return textField(m, "request_id") }

// textField is a field of a message, "" if it has none of that name and kind.
func textField(m proto.Message, name string) string {
	if m == nil {
		return ""
	}
	r := m.ProtoReflect()
	f := r.Descriptor().Fields().ByName(protoName(name))
	if f == nil || f.IsList() || f.IsMap() {
		return ""
	}
	s, _ := r.Get(f).Interface().(string)
	return s
}

// subject is the name that a request is about, or the parent's.
func subject(m *schema.Method, req proto.Message) string {
	for _, f := range []string{"name", "parent"} {
		if s := textField(req, f); s != "" {
			return s
		}
	}
	if m.Resource == nil {
		return ""
	}
	r := req.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !f.IsList() && !f.IsMap() && f.Message() != nil && f.Message().FullName() == m.Resource.Message.Descriptor().FullName() {
			return string(m.Resource.NameOf(r.Get(f).Message().Interface()))
		}
	}
	return ""
}
