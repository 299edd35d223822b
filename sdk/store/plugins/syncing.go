package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// everywhere is all regions.
const everywhere = "*"

// Syncing sets metadata.syncing of everything that is written, by the policy of
// the context (sdk/policy): a resource whose name has a region is that region's,
// any other the default control region's, and copies are in all regions of the
// policy but those it excludes. Without a policy nothing is written.
type Syncing struct {
	// Policies are as in [Options].
	Policies *policy.Policies
}

var _ store.Plugin = (*Syncing)(nil)

// Prepare implements [store.Plugin].
func (s *Syncing) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if w.After == nil || w.Resource.Metadata == nil || w.Resource.Options.GetHidden() {
		return nil
	}
	p, err := s.policy(ctx, tx, w)
	if err != nil {
		return err
	}
	if p == nil {
		if md := w.Resource.MetadataOf(w.After); md.Syncing == nil && w.Before != nil {
			md.Syncing = w.Resource.MetadataOf(w.Before).GetSyncing()
		}
		return nil
	}
	region := Region(w.Name)
	if w.Before == nil && region != "" && !slices.Contains(p.GetEnabledRegions(), region) && !slices.Contains(p.GetEnabledRegions(), everywhere) {
		return &fault.Error{
			Op: "plugins.Syncing", Name: string(w.Name), Kind: fault.Invalid, Reason: "REGION_NOT_ENABLED", Field: "name",
			Err: fmt.Errorf("the region %s is not one of %s, which are enabled", region, strings.Join(p.GetEnabledRegions(), ", ")),
		}
	}
	if region == "" {
		region = p.GetDefaultControlRegion()
	}
	if region == "" {
		return &fault.Error{
			Op: "plugins.Syncing", Name: string(w.Name), Kind: fault.Invalid, Reason: "NO_CONTROL_REGION",
			Err: errors.New("neither the name nor the policy's default_control_region says in which region the resource is"),
		}
	}
	w.Resource.MetadataOf(w.After).Syncing = syncing(w.Resource.Type, region, p)
	return nil
}

// policy is the policy that a write follows: that of its holder, if this store
// has it, which is then a condition of the transaction, so that no write misses
// a change of the policy; or else that of the context. Nil is that it is not
// known, and that what the platform changes stays where it is.
func (s *Syncing) policy(ctx context.Context, tx *store.Tx, w *store.Pending) (*resourcev1.MultiRegionPolicy, error) {
	given := policy.Of(ctx)
	if given == nil && (w.Asked() || w.Before == nil && s.Policies == nil) {
		return nil, &fault.Error{
			Op: "plugins.Syncing", Name: string(w.Name), Kind: fault.Internal, Reason: "NO_POLICY",
			Err: errors.New("the context has no policy: call policy.With before writing"),
		}
	}
	if s.Policies == nil {
		if w.Reason != "" && w.Before != nil {
			return nil, nil // the context is about something else
		}
		return given, nil
	}
	if typ, holder, ok := s.Policies.Holder(w.Name); ok {
		m, err := tx.Get(ctx, typ, holder)
		if err != nil {
			return nil, fmt.Errorf("reading the policy of %s: %w", holder, err)
		}
		if m != nil {
			if p := policy.Read(typ, m); p != nil {
				return p, nil
			}
		}
	}
	if w.Reason != "" {
		return s.Policies.For(ctx, w.Name)
	}
	return given, nil
}

// Region is the region that a name says, "" if it says none. The name of a
// region itself does not.
func Region(name resource.Name) string {
	for n := name.Parent(); n != ""; n = n.Parent() {
		if n.Collection() == "regions" {
			return n.ID()
		}
	}
	return ""
}

// syncing is where a resource of a type is that a region owns.
func syncing(typ, owner string, p *resourcev1.MultiRegionPolicy) *resourcev1.Syncing {
	regions := []string{owner}
	for _, r := range p.GetEnabledRegions() {
		excluded := slices.ContainsFunc(p.GetDisabledSync(), func(n *resourcev1.NoSync) bool {
			return is(n.GetType(), typ) && is(n.GetSourceRegion(), owner) && is(n.GetDestRegion(), r)
		})
		switch {
		case excluded:
		case r == everywhere:
			return &resourcev1.Syncing{OwningRegion: owner, Regions: []string{everywhere}}
		default:
			regions = append(regions, r)
		}
	}
	slices.Sort(regions)
	return &resourcev1.Syncing{OwningRegion: owner, Regions: slices.Compact(regions)}
}

// is reports whether a criterion, of which "" is any, fits a value.
func is(criterion, value string) bool { return criterion == "" || criterion == value }
