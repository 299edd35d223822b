// Package rpc is the platform's side of calls to services: sdk/gateway/rpc, and
// services that run as functions of their own.
package rpc

import "selvedge.dev/sdk/gateway/rpc"

// The names of sdk/gateway/rpc.
type (
	// Server is [rpc.Server].
	Server = rpc.Server
	// Options are [rpc.Options].
	Options = rpc.Options
	// Handler is [rpc.Handler].
	Handler = rpc.Handler
	// Doors are [rpc.Doors].
	Doors = rpc.Doors
)

// New is [rpc.New].
func New(o Options) (*Handler, error) { return rpc.New(o) }
