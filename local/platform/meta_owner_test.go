package platform

import (
	"testing"

	"github.com/stretchr/testify/require"

	metav1 "selvedge.dev/functions/meta/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// A registry says whose it is: nobody's yet if it is of one region, and else
// that of the region that owns it.
func TestOwnerOf(t *testing.T) {
	t.Parallel()
	f := func(want, owner string, regions ...string) {
		t.Helper()
		require.Equal(t, want, ownerOf(&metav1.Service{
			Metadata:          &resourcev1.Metadata{Syncing: &resourcev1.Syncing{OwningRegion: owner}},
			MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: regions},
		}, "us"))
	}
	f("", "us", "us")
	f("us", "us", "us", "eu")
	f("us", "us", "eu")
	f("eu", "eu", "eu", "us")
	f("eu", "eu", "eu")
	require.Empty(t, ownerOf(nil, "us"))
}
