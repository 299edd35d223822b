package watch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// The last words of the types of the events that changes are. Before them is
// the full name of the message: "selvedge.devices.v1.Device.created".
const (
	Created = ".created"
	Updated = ".updated"
	Deleted = ".deleted"
)

// RelayOptions configure a Relay.
type RelayOptions struct {
	// Name is that of its cursor; "" is "relay".
	Name string
	// Keep is how many of the last numbers of changes stay in the database, for
	// watches to be resumed; 0 is 300,000. The platform's own records take
	// numbers too, about two for each change.
	Keep int
	// Wanted is asked with an event that has no data yet whether it is to be
	// published; nil publishes every event. The data is most of the work.
	Wanted func(event.Event) bool
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Relay publishes every change of a store as an event: at least once, in the
// order of the commits, with the same id whenever it is published. What is
// published is forgotten by the store after a while, but not before everybody
// who reads changes by [store.Store.Tail] is past it.
//
// The event of a change has
//
//	type     selvedge.devices.v1.Device.created, .updated or .deleted
//	source   //selvedge.dev/devices.selvedge.dev, the service
//	subject  projects/p/devices/d, the name
//	id       what identifies the store, and the change's number
//	data     a selvedge.resource.v1.ChangeEvent as JSON, without secrets; and
//	         without the objects, if they are too large for an event
type Relay struct {
	st      *store.Store
	publish func(context.Context, []event.Event) error
	o       RelayOptions
	// origin begins the ids. It is empty until it was read.
	origin string
	// trimmed is up to where the changes were trimmed.
	trimmed store.Seq
}

// NewRelay makes a Relay that publishes with that function. It must return nil
// only once the events are safe; those of a call that failed come again.
func NewRelay(st *store.Store, publish func(context.Context, []event.Event) error, o RelayOptions) *Relay {
	if o.Name == "" {
		o.Name = "relay"
	}
	o.Keep = or(o.Keep, 300_000)
	if o.Wanted == nil {
		o.Wanted = func(event.Event) bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Relay{st: st, publish: publish, o: o}
}

// Run publishes until ctx ends. It must be called once.
func (r *Relay) Run(ctx context.Context) error { return r.st.Tail(ctx, r.o.Name, r.handle) }

// handle publishes changes.
func (r *Relay) handle(ctx context.Context, changes []store.Change) error {
	if r.origin == "" {
		var err error
		if r.origin, err = r.st.Identity(ctx); err != nil {
			return err
		}
	}
	var events []event.Event
	for _, c := range changes {
		e, ok, err := r.event(c)
		if err != nil {
			return err
		}
		if ok {
			events = append(events, e)
		}
	}
	if len(events) > 0 {
		if err := r.publish(ctx, events); err != nil {
			return fmt.Errorf("publishing changes: %w", err)
		}
	}
	// What is published is not published again because it cannot be trimmed.
	if err := r.trim(ctx, changes[len(changes)-1].Seq); err != nil {
		r.o.Logger.LogAttrs(ctx, slog.LevelWarn, "changes are not trimmed", slog.Any("error", err))
	}
	return nil
}

// trim forgets the changes that nobody needs, now and then.
func (r *Relay) trim(ctx context.Context, seq store.Seq) error {
	keep := store.Seq(r.o.Keep)
	if seq-keep <= r.trimmed+keep/16 {
		return nil
	}
	var err error
	r.trimmed, err = r.st.Trim(ctx, seq-keep)
	return err
}

// maxData bounds the data of an event. Brokers refuse events of more than 1 MiB,
// and one that is refused would hold up all after it.
const maxData = 768 << 10

// event is the event of a change; false for one that is not to be published,
// like those of the platform's own records.
func (r *Relay) event(c store.Change) (event.Event, bool, error) {
	typ, ok := r.st.Types().Type(c.Type)
	if !ok || typ.Options.GetHidden() {
		return event.Event{}, false, nil
	}
	word := Updated
	switch {
	case c.Before == nil:
		word = Created
	case c.After == nil:
		word = Deleted
	}
	e := event.New()
	e.SetID(r.origin + "-" + strconv.FormatInt(int64(c.Seq), 10))
	e.SetType(string(typ.Message.Descriptor().FullName()) + word)
	e.SetSource(event.Source(typ.Service.Domain))
	e.SetSubject(string(c.Name))
	e.SetTime(c.Time)
	e.SetDataContentType(dataType)
	if p := c.Name.Project(); p != "" {
		e.SetExtension(event.Project, p)
	}
	if !r.o.Wanted(e) {
		return event.Event{}, false, nil
	}
	body, err := r.data(c, typ)
	if err == nil {
		err = e.SetData(dataType, body)
	}
	if err != nil {
		return event.Event{}, false, &fault.Error{Op: "watch.Relay", Name: string(c.Name), Kind: fault.Internal, Err: fmt.Errorf("encoding a change: %w", err)}
	}
	return e, true, nil
}

// dataType is the type of the data of an event.
const dataType = "application/json"

// data is the data of the event of a change.
func (r *Relay) data(c store.Change, typ *schema.Resource) ([]byte, error) {
	x := &change{Change: c, types: r.st.Types(), logger: r.o.Logger}
	before, after := x.objects()
	data := &resourcev1.ChangeEvent{
		Type: c.Type, Name: string(c.Name), Reason: c.Reason, Principal: c.Info.Principal, RequestId: c.Info.RequestID,
	}
	var err error
	if data.Before, err = text(before); err != nil {
		return nil, err
	}
	if data.After, err = text(after); err != nil {
		return nil, err
	}
	for _, p := range fieldmask.Diff(cmp.Or(before, typ.New()), cmp.Or(after, typ.New())).Paths() {
		data.Paths = append(data.Paths, p.String())
	}
	body, err := protojson.Marshal(data)
	if len(body) > maxData {
		data.Before, data.After = "", ""
		body, err = protojson.Marshal(data)
	}
	return body, err
}

// text is an object as JSON, "" for none.
func text(o proto.Message) (string, error) {
	if o == nil {
		return "", nil
	}
	b, err := protojson.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encoding an object: %w", err)
	}
	return string(b), nil
}
