package serving_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
)

func TestServing_DeploysAndAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.deploy(manifest("hello", "echo"))
	require.Equal(t, r.server.URL+"/functions/shop/hello", o.Text("status", "url"))
	require.Equal(t, o.Text("status", "url"), o.Text("status", "address", "url"))
	require.Equal(t, "hello-00001", o.Text("status", "latestCreatedRevisionName"))
	require.Equal(t, "hello-00001", o.Text("status", "latestReadyRevisionName"))
	a := r.get("hello/a%2Fb?q=1")
	require.Equal(t, "/a%2Fb", a.Path)
	require.Equal(t, "q=1", a.Query)
	require.Equal(t, []string{"hello", "hello", "hello-00001"}, []string{a.Env["K_SERVICE"], a.Env["K_CONFIGURATION"], a.Env["K_REVISION"]})
	require.Equal(t, "shop/hello", a.Env["SELVEDGE_FUNCTION"])
	require.Equal(t, "127.0.0.1:"+a.Env["PORT"], a.Env["LISTEN_ADDRESS"])

	rev := r.wait(spec.Revision, "hello-00001", func(o object.Object) bool {
		return o.Condition("Active").Status == "True" && o.Labels()[spec.RoutingStateLabel] != "pending"
	})
	require.Equal(t, map[string]string{
		spec.ServiceLabel: "hello", spec.ConfigurationLabel: "hello", spec.GenerationLabel: "1", spec.RoutingStateLabel: "active",
		spec.ServiceUIDLabel: o.UID(), spec.ConfigurationUID: rev.Labels()[spec.ConfigurationUID],
	}, rev.Labels())
}
