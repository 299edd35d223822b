package plugins

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// resyncReason is why Resync saves, and resyncCursor what keeps its position.
const (
	resyncReason = "POLICY_CHANGED"
	resyncCursor = "resync"
)

// resyncAtOnce is how many resources one transaction of Resync saves: enough
// that a commit is shared, few enough that it seldom loses against others.
const resyncAtOnce = 50

// Resync saves everything under a policy holder again when its policy changed,
// so that metadata.syncing follows it; the holder itself it does not. The store
// must have [Syncing] with Policies that see the change.
type Resync struct {
	Store *store.Store
}

// Run follows the policies until ctx ends.
func (s *Resync) Run(ctx context.Context) error {
	return s.Store.Tail(ctx, resyncCursor, func(ctx context.Context, changes []store.Change) error {
		for _, c := range changes {
			r, ok := s.Store.Types().Type(c.Type)
			if !ok || r.Policy == nil || c.After == nil {
				continue
			}
			same, err := samePolicy(r, c)
			if err != nil {
				return err
			}
			if same {
				continue
			}
			if err := s.Under(ctx, c.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// samePolicy reports whether a change leaves the policy of a holder as it was.
func samePolicy(r *schema.Resource, c store.Change) (bool, error) {
	before, after := r.New(), r.New()
	for m, body := range map[proto.Message][]byte{before: c.Before, after: c.After} {
		if err := proto.Unmarshal(body, m); err != nil {
			return false, fmt.Errorf("decoding %s: %w", c.Name, err)
		}
	}
	return c.Before != nil && proto.Equal(policy.Read(r, before), policy.Read(r, after)), nil
}

// Under saves everything under a holder again. What cannot be saved as it is
// stays as it is, and is logged.
func (s *Resync) Under(ctx context.Context, holder resource.Name) error {
	for _, service := range s.Store.Types().Services() {
		for _, r := range service.Resources {
			if r.Metadata == nil || r.Options.GetHidden() {
				continue
			}
			scan := store.Scan{Type: r.Type, From: holder + "/", To: holder + "0", Limit: resyncAtOnce}
			for {
				names, err := s.names(ctx, scan)
				if err != nil {
					return fmt.Errorf("listing %s under %s: %w", r.Type, holder, err)
				}
				if len(names) == 0 {
					break
				}
				if err := s.save(ctx, r, names); err != nil {
					return err
				}
				scan.After = &store.Position{Name: names[len(names)-1]}
			}
		}
	}
	return nil
}

// names are the names that a scan selects.
func (s *Resync) names(ctx context.Context, scan store.Scan) (names []resource.Name, err error) {
	err = s.Store.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := s.Store.TxOf(ctx)
		return tx.Scan(ctx, scan, func(r *schema.Resource, m proto.Message) bool {
			names = append(names, r.NameOf(m))
			return true
		})
	})
	return names, err
}

// save saves resources again, each by itself if they do not go together.
func (s *Resync) save(ctx context.Context, r *schema.Resource, names []resource.Name) error {
	err := s.Store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		all, err := s.Store.BatchGet(ctx, r, names)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m == nil {
				continue
			}
			if err := s.Store.Save(ctx, m, store.SaveOptions{Reason: resyncReason}); err != nil {
				return err
			}
		}
		return nil
	})
	switch kind := fault.KindOf(err); {
	case err == nil || kind == fault.Unavailable:
		return err
	case len(names) == 1:
		s.Store.Logger().ErrorContext(ctx, "a resource does not follow its policy",
			slog.String("name", string(names[0])), slog.Any("error", err))
		return nil
	}
	for _, n := range names {
		if err := s.save(ctx, r, []resource.Name{n}); err != nil {
			return err
		}
	}
	return nil
}
