package policy_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// control is a policy that is told by its control region.
func control(region string) *resourcev1.MultiRegionPolicy {
	return &resourcev1.MultiRegionPolicy{DefaultControlRegion: region}
}

// source answers for the project p, that the project q has no policy, and counts.
type source struct {
	asked int
	p     *resourcev1.MultiRegionPolicy
}

// policy is the Source.
func (s *source) policy(_ context.Context, _ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
	s.asked++
	switch name {
	case "projects/p":
		return s.p, nil
	case "projects/q":
		return nil, nil
	case "projects/down":
		return nil, errors.New("no answer")
	}
	return nil, &fault.Error{Kind: fault.NotFound}
}

func TestPolicies_ByName(t *testing.T) {
	t.Parallel()
	types := &schema.Registry{}
	samplev1.AddTo(types)
	s := &source{p: control("eu")}
	p := policy.New(types, control("service"), s.policy)
	f := func(name resource.Name, managing, follows string) {
		t.Helper()
		m, err := p.Managing(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, managing, m.GetDefaultControlRegion())
		m, err = p.For(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, follows, m.GetDefaultControlRegion())
	}
	f("projects/p/robots/a", "eu", "eu")
	f("projects/p/regions/us/robots/a", "eu", "eu")
	f("projects/p", "", "service") // the holder itself
	f("projects/q/robots/a", "", "service")
	f("regions/eu", "", "service")
	f("", "", "service")
	m, err := p.Managing(t.Context(), "projects/p")
	require.NoError(t, err)
	require.Nil(t, m)
	_, err = p.For(t.Context(), "projects/missing/robots/a")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = p.For(t.Context(), "projects/down/robots/a")
	require.Error(t, err, "no answer is no policy")
}

func TestCached_AsksOnce(t *testing.T) {
	t.Parallel()
	s := &source{p: control("eu")}
	c := policy.NewCached(10, s.policy)
	get := func(name resource.Name) (string, error) {
		p, err := c.Source(t.Context(), nil, name)
		return p.GetDefaultControlRegion(), err
	}
	for range 3 {
		p, err := get("projects/p")
		require.NoError(t, err)
		require.Equal(t, "eu", p)
	}
	require.Equal(t, 1, s.asked)
	s.p = control("us")
	c.Drop("projects/p")
	p, err := get("projects/p")
	require.NoError(t, err)
	require.Equal(t, "us", p)
	for range 2 { // what is missing and what failed is asked again
		_, err = get("projects/missing")
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		_, err = get("projects/down")
		require.Error(t, err)
	}
	require.Equal(t, 6, s.asked)
}

func TestOf_IsOfTheContext(t *testing.T) {
	t.Parallel()
	require.Nil(t, policy.Of(t.Context()))
	require.True(t, proto.Equal(control("eu"), policy.Of(policy.With(t.Context(), control("eu")))))
}
