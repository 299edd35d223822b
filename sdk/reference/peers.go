package reference

import (
	"context"
	"fmt"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Peers reaches the stores of other services and regions. Every request says to
// which Address it goes; a [Controller] answers those for its own store. All
// requests and replies are plain data and every request may be repeated.
//
// An error is no answer: nothing is concluded from it, whatever its kind.
type Peers interface {
	// Establish is asked before a transaction is committed that makes
	// references to objects there. It fails with BROKEN_REFERENCE if one of
	// them cannot be referred to, and otherwise holds them until the source is
	// found not to refer to them.
	Establish(ctx context.Context, q *EstablishRequest) error
	// Lookup says what is there, as of no earlier than the call.
	Lookup(ctx context.Context, q *LookupRequest) (*LookupReply, error)
	// Dependants says what refers to an object there.
	Dependants(ctx context.Context, q *DependantsRequest) (*DependantsReply, error)
	// Release asks to let go of a target of the caller's that is being deleted,
	// and to look at the ownees of one that changed or went.
	Release(ctx context.Context, q *ReleaseRequest) (*ReleaseReply, error)
	// Upgrade asks to write another API version into the references to owners
	// of a service.
	Upgrade(ctx context.Context, q *UpgradeRequest) error
}

// Address is a store: a service in a region.
type Address struct{ Service, Region string }

// String is "devices.selvedge.dev in eu".
func (a Address) String() string {
	if a.Region == "" {
		return a.Service
	}
	return a.Service + " in " + a.Region
}

// Ref names a resource of any store.
type Ref struct {
	Type   string
	Name   resource.Name
	Region string
}

// Owner is an owner reference as a deletion looks at it.
type Owner struct {
	Ref
	UID   string
	Unset bool // unset_on_delete
}

// Object is what others need to know of a resource.
type Object struct {
	Ref
	UID string
	// Deleting is its state; Leaving, that it will follow something DELETING.
	Deleting, Leaving bool
	Owners            []Owner
}

// Dependant is a resource that refers to another.
type Dependant struct {
	Object
	// Path is the field that does, OnDelete its policy; unspecified for an
	// owner reference, and ASYNC from one store to another.
	Path     string
	OnDelete resourcev1.OnDelete
	// Unsure is a reference of another store that is not there, but might be as
	// soon as a transaction is committed.
	Unsure bool
	// Unreached is an ownee whose store cannot be asked now. It does not hold up
	// its owner; what becomes of it is found out when its store is back.
	Unreached bool
	// local is the object itself, if it is of this store.
	local *local
}

// EstablishRequest says that Source will refer to Targets.
type EstablishRequest struct {
	To      Address
	Source  Ref
	Targets []Target
}

// Target is what is referred to.
type Target struct {
	Ref
	Path     string
	OnDelete resourcev1.OnDelete // unspecified for an owner reference
	UID      string              // of the owner that was seen
}

// LookupRequest asks for objects.
type LookupRequest struct {
	To    Address
	Items []LookupItem
}

// LookupItem asks for an object, and if it refers to Target: by the field Path,
// by an owner reference if that is [OwnerPath], or if it is empty by any field.
type LookupItem struct {
	Ref
	Target Ref
	Path   string
}

// LookupReply has an answer for each item.
type LookupReply struct{ Answers []Answer }

// Answer is what there is of an object.
type Answer struct {
	Found   bool
	Object  Object
	Refers  bool
	unknown error
}

// DependantsRequest asks what refers to an object.
type DependantsRequest struct {
	To Address
	Of Ref
	// Owners asks for ownees and for references that may dangle too.
	Owners bool
}

// DependantsReply has what refers to it.
type DependantsReply struct{ Dependants []Dependant }

// ReleaseRequest asks to let go of a target, and to look at the ownees of Owner.
type ReleaseRequest struct {
	To     Address
	Target Ref
	// Owner is whether it is ownees that are meant. Gone is the uid of an owner
	// that was deleted, "" if it only changed.
	Owner bool
	Gone  string
}

// ReleaseReply says how much still refers to the target, and what holds some of
// it back.
type ReleaseReply struct {
	Left int
	Held string
}

// UpgradeRequest asks to write version To instead of From into the references
// to owners of a service.
type UpgradeRequest struct {
	To               Address
	Service          string
	Version, Instead string
}

// Local are Peers that are in one process. The zero value has none.
type Local struct {
	mu    sync.Mutex
	peers map[Address]Peers
	down  map[Address]bool
}

var _ Peers = (*Local)(nil)

// Join adds the peer that answers for an address.
func (l *Local) Join(a Address, p Peers) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers == nil {
		l.peers, l.down = map[Address]Peers{}, map[Address]bool{}
	}
	l.peers[a] = p
}

// Cut makes an address unreachable, or reachable again.
func (l *Local) Cut(a Address, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down[a] = down
}

// to finds who answers for an address.
func (l *Local) to(a Address) (Peers, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.peers[a]; p != nil && !l.down[a] {
		return p, nil
	}
	return nil, &fault.Error{
		Op: "reference.Local", Name: a.Service, Kind: fault.Unavailable, Reason: "PEER_UNREACHABLE", Err: fmt.Errorf("%s cannot be reached", a),
	}
}

// via calls the peer that answers for an address.
func via[R any](l *Local, a Address, call func(Peers) (R, error)) (R, error) {
	p, err := l.to(a)
	if err != nil {
		return *new(R), err
	}
	return call(p)
}

// Establish implements [Peers].
func (l *Local) Establish(ctx context.Context, q *EstablishRequest) error {
	_, err := via(l, q.To, func(p Peers) (any, error) { return nil, p.Establish(ctx, q) })
	return err
}

// Lookup implements [Peers].
func (l *Local) Lookup(ctx context.Context, q *LookupRequest) (*LookupReply, error) {
	return via(l, q.To, func(p Peers) (*LookupReply, error) { return p.Lookup(ctx, q) })
}

// Dependants implements [Peers].
func (l *Local) Dependants(ctx context.Context, q *DependantsRequest) (*DependantsReply, error) {
	return via(l, q.To, func(p Peers) (*DependantsReply, error) { return p.Dependants(ctx, q) })
}

// Release implements [Peers].
func (l *Local) Release(ctx context.Context, q *ReleaseRequest) (*ReleaseReply, error) {
	return via(l, q.To, func(p Peers) (*ReleaseReply, error) { return p.Release(ctx, q) })
}

// Upgrade implements [Peers].
func (l *Local) Upgrade(ctx context.Context, q *UpgradeRequest) error {
	_, err := via(l, q.To, func(p Peers) (any, error) { return nil, p.Upgrade(ctx, q) })
	return err
}
