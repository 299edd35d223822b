package platform_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/local/platform"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/registry"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// A service that is not the platform's own may say that an owner of its own
// went, and ask about what such a one owns: no more, and nobody else that much.
func TestNeighbours_SpeakOfTheirOwn(t *testing.T) {
	t.Parallel()
	p, err := platform.Open(t.Context(), platform.Config{Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", AdminKey: adminKey})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-stopped)
		require.NoError(t, p.Close())
	})
	account := func(project string) string {
		name := "projects/" + project + "/serviceAccounts/s"
		do(t, p, "projects/"+project+"/serviceAccounts?serviceAccountId=s", `{}`)
		do(t, p, "roleBindings?roleBindingId="+project, `{"role":"services/iam.selvedge.dev/roles/service","members":["serviceAccount:`+name+`"]}`)
		var key string
		require.NoError(t, json.Unmarshal(do(t, p, name+"/serviceAccountKeys?serviceAccountKeyId=k", `{}`)["secret"], &key))
		return key
	}
	a, b := account("a"), account("b")
	r, err := registry.Open(t.Context(), registry.Options{
		Meta: &rpc.Client{URL: p.URL(), Key: a}, Region: "local",
		Service:    registry.Service{Versions: []*schema.Service{{Domain: "inventory.example.com", Version: "v1", Imports: []string{"iam.selvedge.dev"}}}},
		Deployment: registry.Deployment{Endpoint: "http://127.0.0.1:1"},
	})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	const owner = `"ownerReferences":[{"type":"inventory.example.com/Order","name":"projects/a/orders/o"}]`
	do(t, p, "projects/a/serviceAccounts?serviceAccountId=owned", `{"metadata":{`+owner+`,"services":{"owningService":"inventory.example.com"}}}`)

	methods := map[string]*schema.Method{}
	for _, m := range referencev1.AddTo(new(schema.Registry)).Methods {
		methods[string(m.Desc.Name())] = m
	}
	to := &referencev1.Address{Service: "iam.selvedge.dev", Region: "local"}
	order := &referencev1.Ref{Type: "inventory.example.com/Order", Name: "projects/a/orders/o"}
	sa := func(id string) *referencev1.Ref {
		return &referencev1.Ref{Type: "iam.selvedge.dev/ServiceAccount", Name: "projects/a/serviceAccounts/" + id}
	}
	lookup := func(id, path string, target *referencev1.Ref) *referencev1.LookupRequest {
		return &referencev1.LookupRequest{To: to, Items: []*referencev1.LookupItem{{Ref: sa(id), Target: target, Path: path}}}
	}
	ask := func(key, method string, req proto.Message) (proto.Message, error) {
		return (&rpc.Client{URL: p.URL(), Key: key}).Call(t.Context(), methods[method], req)
	}
	f := func(name, method string, req proto.Message, mayHe bool) {
		t.Helper()
		_, err := ask(a, method, req)
		if mayHe {
			require.NoError(t, err, name)
		} else {
			require.Equal(t, fault.Denied, fault.KindOf(err), "%s: %v", name, err)
		}
		_, err = ask(b, method, req)
		require.Equal(t, fault.Denied, fault.KindOf(err), "%s, by the account of another project: %v", name, err)
		_, err = ask("", method, req)
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%s, by nobody: %v", name, err)
	}
	// The platform learns of the service by its registry, soon.
	require.Eventually(t, func() bool {
		_, err := ask(a, "Lookup", lookup("owned", reference.OwnerPath, order))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)

	f("what it owns", "Lookup", lookup("owned", reference.OwnerPath, order), true)
	f("any field", "Lookup", lookup("owned", "", order), false)
	f("an owner of the platform", "Lookup", lookup("owned", reference.OwnerPath, sa("s")), false)
	f("what becomes of others", "Dependants", &referencev1.DependantsRequest{To: to, Of: sa("owned"), Owners: true}, true)
	f("of what is not its own", "Dependants", &referencev1.DependantsRequest{To: to, Of: sa("s"), Owners: true}, false)
	f("an owner went", "Release", &referencev1.ReleaseRequest{To: to, Target: order, Owner: true}, true)
	f("a target went", "Release", &referencev1.ReleaseRequest{To: to, Target: order}, false)
	f("another's owner went", "Release", &referencev1.ReleaseRequest{To: to, Target: sa("s"), Owner: true}, false)
	f("a reference", "Establish", &referencev1.EstablishRequest{To: to, Source: order, Targets: []*referencev1.Target{{Ref: sa("s")}}}, false)
	f("a version", "Upgrade", &referencev1.UpgradeRequest{To: to, Service: "inventory.example.com", Version: "v2"}, false)

	// What it creates says that it is its own; what people create need not, and
	// neither what other accounts do. SPEC 1.F 15
	do(t, p, "projects/a/roleBindings?roleBindingId=makers", `{"role":"services/iam.selvedge.dev/roles/project-editor","members":["serviceAccount:projects/a/serviceAccounts/s"]}`)
	do(t, p, "projects/a/roleBindings?roleBindingId=maker", `{"role":"services/iam.selvedge.dev/roles/project-editor","members":["serviceAccount:projects/a/serviceAccounts/owned"]}`)
	var owned string
	require.NoError(t, json.Unmarshal(do(t, p, "projects/a/serviceAccounts/owned/serviceAccountKeys?serviceAccountKeyId=k", `{}`)["secret"], &owned))
	create := func(key, id, owner string) error {
		d := &devicesv1.Device{Metadata: &resourcev1.Metadata{Services: &resourcev1.Services{OwningService: owner}}}
		if owner == "" {
			d.Metadata = nil
		}
		for _, m := range devicesv1.AddTo(new(schema.Registry)).Methods {
			if m.Desc.Name() == "CreateDevice" {
				_, err := (&rpc.Client{URL: p.URL(), Key: key}).Call(t.Context(), m, &devicesv1.CreateDeviceRequest{Parent: "projects/a", DeviceId: id, Device: d})
				return err
			}
		}
		return nil
	}
	for _, owner := range []string{"", "devices.selvedge.dev", "another.example.com"} {
		err := create(a, "refused", owner)
		require.Equal(t, "NOT_OWNING_SERVICE", fault.ReasonOf(err), "%q: %v", owner, err)
	}
	require.NoError(t, create(a, "d1", "inventory.example.com"))
	require.NoError(t, create(owned, "d2", ""))
	require.NoError(t, create(adminKey, "d3", ""))

	found, err := ask(a, "Lookup", lookup("s", reference.OwnerPath, order))
	require.NoError(t, err)
	require.Nil(t, found.(*referencev1.LookupResponse).GetAnswers()[0].GetObject(), "what it does not own is not there for it")
	require.NotContains(t, found.(*referencev1.LookupResponse).String(), "uid")
}
