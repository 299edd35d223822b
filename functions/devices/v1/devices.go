// Package devicesv1 is the contract of the devices service: its types and
// methods, generated from devices.proto, what makes objects of them valid, and
// the interface by which others read them. The service's implementation is
// functions/devices; [Client] reads it over HTTP from a function that runs as
// its own process, and watches it to know what changed.
//
// What a [Reader] returns is shared with other callers and must not be changed.
package devicesv1

import "context"

// External is an external name of a device as a value: what an [Alias] says.
type External struct {
	// Network is the network's id, Key what kind of name it is, Value the
	// name: "boat-network", "esn", "5551212".
	Network, Key, Value string
}

// External is what the alias says.
func (x *Alias) External() External {
	return External{Network: x.GetNetwork(), Key: x.GetKey(), Value: x.GetValue()}
}

// is reports whether the alias says it.
func (a External) is(x *Alias) bool {
	return x.GetValue() == a.Value && x.GetKey() == a.Key && x.GetNetwork() == a.Network
}

// Alias is the alias that says it.
func (a External) Alias() *Alias { return &Alias{Network: a.Network, Key: a.Key, Value: a.Value} }

// Reader reads the registry. All methods may be called concurrently. A name or
// an alias that nothing answers to, be it well formed or not, is a NotFound
// fault; a registry that cannot be asked never is. What is returned is shared
// and must not be changed.
type Reader interface {
	// Device returns the device of that name.
	Device(ctx context.Context, name string) (*Device, error)
	// Resolve returns the device of the project (an id) with that alias.
	Resolve(ctx context.Context, project string, alias External) (*Device, error)
	// Blueprint returns the blueprint of that name.
	Blueprint(ctx context.Context, name string) (*Blueprint, error)
}
