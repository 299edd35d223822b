package meta_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
)

// presence is what a deployment of a.example.com says.
func (w *world) presence(t *testing.T, region string) *metav1.Presence {
	t.Helper()
	d, err := call[*metav1.Deployment](t.Context(), w, w.self, "GetDeployment", &metav1.GetDeploymentRequest{Name: "services/a.example.com/deployments/" + region})
	require.NoError(t, err)
	return d.GetPresence()
}

// alive is a sign of life of a deployment of a.example.com.
func (w *world) alive(t *testing.T, region string) {
	t.Helper()
	_, err := call[*metav1.Deployment](t.Context(), w, w.account, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
		Deployment: &metav1.Deployment{Name: "services/a.example.com/deployments/" + region, Presence: &metav1.Presence{State: metav1.Presence_RUNNING}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"presence"}},
	})
	require.NoError(t, err)
}

// A deployment of which nothing is heard for a lease is gone soon after, and
// those that are heard of are not. A registry that starts again first listens
// for as long: nobody could be heard meanwhile.
func TestPresence_Leases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, ctx := open(t), t.Context()
		c := &controlled{w: w}
		c.start()
		defer func() { c.stop(); c.done.Wait() }()
		w.regions(t, "eu", "us")
		require.NoError(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu", "us"})))
		for _, region := range []string{"eu", "us"} {
			require.NoError(t, w.deploy(ctx, w.account, "a.example.com", region, &metav1.Deployment{Presence: &metav1.Presence{State: metav1.Presence_RUNNING}}))
		}
		begin := time.Now()
		hear := func(d time.Duration) {
			for range int(d / (20 * time.Second)) {
				time.Sleep(20 * time.Second) // of the bubble's own time
				w.alive(t, "us")
			}
			synctest.Wait()
		}
		hear(meta.Lease - 20*time.Second)
		require.Equal(t, metav1.Presence_RUNNING, w.presence(t, "eu").GetState())
		hear(meta.Lease)
		require.Equal(t, metav1.Presence_GONE, w.presence(t, "eu").GetState())
		require.True(t, begin.Equal(w.presence(t, "eu").GetLastSeenTime().AsTime()))
		require.Equal(t, metav1.Presence_RUNNING, w.presence(t, "us").GetState())
		w.alive(t, "eu")
		require.Equal(t, metav1.Presence_RUNNING, w.presence(t, "eu").GetState())

		c.stop()
		c.done.Wait()
		time.Sleep(time.Hour) // it is down
		c.start()
		time.Sleep(meta.Lease - time.Second)
		w.alive(t, "us")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, metav1.Presence_RUNNING, w.presence(t, "us").GetState())
		require.Equal(t, metav1.Presence_GONE, w.presence(t, "eu").GetState())
	})
}
