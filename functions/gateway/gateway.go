// Package gateway is the port of the platform: sdk/gateway, which every program
// that serves something has, and the doors that only the platform has, to what
// was lost and to how it is.
package gateway

import (
	"context"
	"net/http"

	"selvedge.dev/sdk/gateway"
)

// The names of sdk/gateway.
type (
	// Service is [gateway.Service].
	Service = gateway.Service
	// Options are [gateway.Options].
	Options = gateway.Options
)

// New is [gateway.New].
func New(o Options) http.Handler { return gateway.New(o) }

// NotFound is [gateway.NotFound].
func NotFound(w http.ResponseWriter, r *http.Request) { gateway.NotFound(w, r) }

// Leave is [gateway.Leave].
func Leave(ctx context.Context) { gateway.Leave(ctx) }
