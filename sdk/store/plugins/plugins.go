// Package plugins holds the plugins of sdk/store that every service has, and
// what belongs to them: [Meta] keeps metadata, [Syncing] says where a resource
// is, [Services] whose it is, [Limits] how many there may be, and [Usage]
// counts. [Standard] is all of them. [Resync] is no plugin: it reads the
// committed changes, and runs beside the store. Who did what is recorded by
// sdk/audit.
//
// A plugin sees every write, also those that follow from others. What the
// platform does by itself (Pending.Reason) is trusted; what a caller gives is
// not.
package plugins

import (
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/store"
)

// Options configure the Standard plugins.
type Options struct {
	// Policies find the policies of what the platform changes by itself, such
	// as by a cascade. Without, such a resource stays where it is.
	Policies *policy.Policies
	// Limit is how many resources there may be; nil is no limit. They are
	// counted all the same.
	Limit Limit
	// Usage, if not nil, counts reads and writes.
	Usage *Usage
}

// Standard are the plugins of every store, in the order that they need. Those
// of a service's own come after them.
func Standard(o Options) []store.Plugin {
	all := []store.Plugin{Meta{}, Services{}, &Syncing{Policies: o.Policies}, &Limits{Limit: o.Limit}}
	if o.Usage != nil {
		all = append(all, o.Usage)
	}
	return all
}
