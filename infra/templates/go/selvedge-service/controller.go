package function

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	visitsv1 "selvedge.dev/api/visits/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// count is the controller: it keeps how many visits of each site are to come. It
// is told every change of the database at least once, also those that were made
// while it was away, and looks at what there is now: what it was told twice
// changes nothing.
func (s *Service) count(ctx context.Context) error {
	return s.store.Tail(ctx, "open-visits", func(ctx context.Context, changes []store.Change) error {
		sites := map[resource.Name]bool{}
		for _, c := range changes {
			if c.Type != s.kind.Type {
				continue
			}
			for _, body := range [][]byte{c.Before, c.After} {
				visit := new(visitsv1.Visit)
				if err := proto.Unmarshal(body, visit); err != nil {
					return fmt.Errorf("reading %s: %w", c.Name, err)
				}
				if visit.GetSite() != "" { // there was one before, or is one now
					sites[resource.Name(visit.GetSite())] = true
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(sites)) {
			if err := s.countSite(ctx, name); err != nil {
				return fmt.Errorf("counting the visits of %s: %w", name, err)
			}
		}
		return nil
	})
}

// countSite counts the visits of one site, in a transaction.
func (s *Service) countSite(ctx context.Context, name resource.Name) error {
	where, err := s.policies.For(ctx, name)
	if err != nil {
		return err
	}
	parent, err := schema.ParseParent(s.kind, string(name.Parent()))
	if err != nil {
		return err
	}
	open, err := filter.Parse(s.kind, fmt.Sprintf("site = %q AND done = false", name))
	if err != nil {
		return err
	}
	return s.store.Run(policy.With(ctx, where), store.Transaction, func(ctx context.Context) error {
		m, err := s.store.Get(ctx, s.site, name)
		site, ok := m.(*visitsv1.Site)
		switch {
		case fault.KindOf(err) == fault.NotFound: // it was deleted meanwhile
			return nil
		case err != nil || !ok:
			return err
		}
		page, err := s.store.List(ctx, s.kind, store.Query{Parent: parent, Filter: open, Limit: 1, Count: true})
		if err != nil {
			return err
		}
		if site.GetOpenVisits() == int32(page.Total) {
			return nil
		}
		site.OpenVisits = int32(page.Total)
		return s.store.Save(ctx, site, store.SaveOptions{Update: true, Reason: "its visits were counted"})
	})
}
