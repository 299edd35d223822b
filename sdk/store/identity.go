package store

import (
	"context"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// identityType is the type of the records that tell stores apart.
const identityType = "records.selvedge.dev/Identity"

// Identity is a random text that tells this database from all others. It is
// made when it is first asked for.
func (s *Store) Identity(ctx context.Context) (string, error) {
	uid, err := s.identity(ctx, "identities/store", s.NewUID())
	if err != nil {
		return "", fmt.Errorf("reading the store's identity: %w", err)
	}
	return uid, nil
}

// Met is the identity that the store of another region had when it was met
// first, which it is with this one if it never was.
func (s *Store) Met(ctx context.Context, region, identity string) (string, error) {
	uid, err := s.identity(ctx, peerName(region), identity)
	if err != nil {
		return "", fmt.Errorf("reading the identity of %s: %w", region, err)
	}
	return uid, nil
}

// Forget forgets whom it met in a region.
func (s *Store) Forget(ctx context.Context, region string) error {
	r, _ := s.types.Type(identityType)
	return s.Run(ctx, Transaction, func(ctx context.Context) error {
		return s.Delete(ctx, r, peerName(region), DeleteOptions{AllowMissing: true})
	})
}

// peerName is the name of the identity of the store of a region.
func peerName(region string) resource.Name { return resource.Name("identities/region-" + region) }

// identity reads an identity, and makes it uid if there is none. It has a
// transaction of its own: who asks may be in the middle of one.
func (s *Store) identity(ctx context.Context, name resource.Name, uid string) (string, error) {
	r, _ := s.types.Type(identityType)
	ctx = context.WithValue(ctx, handleKey{s}, nil)
	err := s.Run(ctx, Transaction, func(ctx context.Context) error {
		m, err := s.Get(ctx, r, name)
		if fault.KindOf(err) == fault.NotFound {
			return s.Save(ctx, &resourcev1.Identity{Name: string(name), Uid: uid}, SaveOptions{Create: true})
		}
		if x, ok := m.(*resourcev1.Identity); ok {
			uid = x.GetUid()
		}
		return err
	})
	return uid, err
}
