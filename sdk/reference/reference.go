// Package reference keeps references between resources whole.
//
// A schema reference is a field with google.api.resource_reference. Its target
// exists when it is made, and when the target is deleted the field's policy
// decides: refuse, unset, delete, at once or soon after. [References] is the
// plugin that does so inside of every transaction of a store. An owner
// reference (metadata.owner_references) is soft: it blocks nothing, and what it
// is on, the ownee, is collected after its last owner went. A [Controller]
// does everything that happens afterwards, from the changes of the store and
// by time: it finishes what is DELETING, and checks owners.
//
// The rule that all of it follows: a resource is gone only if the store that
// owns it says so. An error, a cache or a silence is no answer. An owner that
// was never seen to be deleted is missing only after two such answers, a
// timeout apart.
//
// What a deletion leads to is decided in one place, the forecast: it plans
// ([References.Plan]), it refuses, and it says what goes in the transaction.
// Stores of other services and regions are reached by [Peers].
//
// Types with the option unconstrained take no part. Types without metadata are
// never DELETING and never collected: what would be soon is at once for them.
package reference

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Options configure References.
type Options struct {
	// Peers reaches other services and regions; nil is none, so that references
	// to them are refused.
	Peers Peers
	// Region is that of the store; "" is a platform of one region.
	Region string
	// OwnerTimeout is how long an owner has to come into being, from when the
	// reference to it was attached; 0 is 5 minutes.
	OwnerTimeout time.Duration
	// Grace is how long a transaction of another store may take between saying
	// that it will refer to something here and committing; 0 is 1 minute.
	Grace time.Duration
	// Recheck is how often what is known of other stores is asked for again; 0
	// is 1 hour.
	Recheck time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told of collections; nil discards.
	Logger *slog.Logger
}

// References is the plugin of a store. It is safe for concurrent use.
type References struct {
	o Options
}

var _ store.Plugin = (*References)(nil)

// New makes References.
func New(o Options) *References {
	if o.OwnerTimeout == 0 {
		o.OwnerTimeout = 5 * time.Minute
	}
	if o.Grace == 0 {
		o.Grace = time.Minute
	}
	if o.Recheck == 0 {
		o.Recheck = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &References{o: o}
}

// Prepare implements [store.Plugin].
func (r *References) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	switch {
	case w.Resource.Options.GetUnconstrained() || !r.mine(w.Resource, w.Before) || !r.mine(w.Resource, w.After):
		return nil // a copy is whole where it is from
	case w.After == nil:
		return r.remove(ctx, tx, w)
	}
	if err := r.attach(w); err != nil {
		return err
	}
	return r.refer(ctx, tx, w)
}

// id is a resource of any store.
type id struct {
	typ  string
	name resource.Name
}

// domain is the service of a type.
func domain(typ string) string {
	d, _, _ := strings.Cut(typ, "/")
	return d
}

// regionOf is the region that a name says, or "".
func regionOf(n resource.Name) string {
	_, rest, ok := strings.Cut("/"+string(n), "/regions/")
	if !ok {
		return ""
	}
	region, _, _ := strings.Cut(rest, "/")
	return region
}

// address is where a resource is written: in the region that was said, or that
// its name says, or else in this one.
func (r *References) address(typ string, n resource.Name, region string) Address {
	if region == "" {
		region = regionOf(n)
	}
	if region == "" {
		region = r.o.Region
	}
	return Address{Service: domain(typ), Region: region}
}

// here finds the type of a resource of this store; false is another store's.
func (r *References) here(types *schema.Registry, typ string, n resource.Name, region string) (*schema.Resource, bool) {
	x, ok := types.Type(typ)
	if !ok || r.o.Region != "" && r.address(typ, n, region).Region != r.o.Region {
		return nil, false
	}
	return x, true
}

// mine reports whether this store writes an object, rather than have a copy.
func (r *References) mine(x *schema.Resource, m proto.Message) bool {
	owner := metadata(x, m).GetSyncing().GetOwningRegion()
	return owner == "" || r.o.Region == "" || owner == r.o.Region
}

// metadata reads the metadata of an object; nil is none.
func metadata(x *schema.Resource, m proto.Message) *resourcev1.Metadata {
	if m == nil || x.Metadata == nil || !m.ProtoReflect().Has(x.Metadata) {
		return nil
	}
	return x.MetadataOf(m)
}

// deleting reports whether an object is on its way out.
func deleting(x *schema.Resource, m proto.Message) bool {
	return metadata(x, m).GetLifecycle().GetState() == resourcev1.Lifecycle_DELETING
}
