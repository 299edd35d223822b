package registry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/schema"
)

// silent is a registry that takes calls and never answers.
type silent struct{ calls int }

// Call implements registry.Meta.
func (s *silent) Call(ctx context.Context, _ *schema.Method, _ proto.Message) (proto.Message, error) {
	s.calls++
	<-ctx.Done()
	return nil, ctx.Err()
}

// Watch implements registry.Meta.
func (s *silent) Watch(ctx context.Context, _ *schema.Method, _ proto.Message, _ func(proto.Message) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// A registry that does not answer is asked again, and again, until the caller
// has enough.
func TestOpen_Silence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		meta := &silent{}
		_, err := registry.Open(ctx, registry.Options{
			Meta: meta, Region: "eu", Service: registry.Service{Versions: []*schema.Service{{Domain: "a.example.com", Version: "v1"}}},
		})
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Equal(t, "NOT_REGISTERED", fault.ReasonOf(err))
		require.Greater(t, meta.calls, 10)
	})
}
