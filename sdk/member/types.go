package member

import (
	"context"
	"slices"

	auditv1 "selvedge.dev/functions/audit/v1"
	devicesv1 "selvedge.dev/functions/devices/v1"
	iamv1 "selvedge.dev/functions/iam/v1"
	loggingv1 "selvedge.dev/functions/logging/v1"
	metav1 "selvedge.dev/functions/meta/v1"
	reasonv1 "selvedge.dev/functions/reason/v1"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
)

// Types are those of all services of the platform: of its store, whoever opens it.
func Types() (*schema.Registry, error) {
	types := new(schema.Registry)
	for _, add := range []func(*schema.Registry) *schema.Service{
		auditv1.AddTo, devicesv1.AddTo, iamv1.AddTo, loggingv1.AddTo, metav1.AddTo, schedulerv1.AddTo, reasonv1.AddTo,
	} {
		add(types)
	}
	return types, types.Check()
}

// Has reports whether there is a service of that domain among types.
func Has(types *schema.Registry, domain string) bool {
	return slices.ContainsFunc(types.Services(), func(s *schema.Service) bool { return s.Domain == domain })
}

// Domains are those of the services among types.
func Domains(types *schema.Registry) []string {
	all := make([]string, len(types.Services()))
	for i, s := range types.Services() {
		all[i] = s.Domain
	}
	return all
}

// Plugins are those of the platform's store, whoever opens it: what a service has of
// its own first, what all have, and then the others.
func Plugins(first []store.Plugin, policies *policy.Policies, region string, others ...store.Plugin) []store.Plugin {
	return slices.Concat(first, plugins.Standard(plugins.Options{Policies: policies}), []store.Plugin{plugins.Regional{Region: region}}, others)
}

// ServicePolicy is where resources may be that are under no policy holder: in any
// of the regions, of which own is that of the store, and nowhere else are there
// copies of them, as long as nobody makes any.
func ServicePolicy(regions []string, own string) *resourcev1.MultiRegionPolicy {
	return &resourcev1.MultiRegionPolicy{EnabledRegions: regions, DefaultControlRegion: own, DisabledSync: []*resourcev1.NoSync{{}}}
}

// Policies say in which region a resource is, by what is stored; st is not asked
// for before a resource is.
func Policies(types *schema.Registry, ofServices *resourcev1.MultiRegionPolicy, st func() *store.Store) *policy.Policies {
	return policy.New(types, ofServices, func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		found, err := policy.Local(st())(ctx, typ, name)
		if fault.KindOf(err) == fault.NotFound && typ.Options.GetImplicit() {
			return nil, nil // as if it had none
		}
		return found, err
	})
}
