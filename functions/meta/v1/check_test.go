package metav1_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

func TestCompareVersions_NewestFirst(t *testing.T) {
	t.Parallel()
	want := []string{"v10", "v2", "v2beta10", "v2beta2", "v2alpha1", "v1", "v1beta1", "", "1", "v0", "v01", "v1gamma1", "vv1"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, metav1.CompareVersions)
	require.Equal(t, want, got)
}

// FuzzCompareVersions checks that it is an order, whatever is compared.
func FuzzCompareVersions(f *testing.F) {
	f.Add("v1", "v1beta1", "v2alpha3")
	f.Add("v01", "", "v9999999999999999999")
	f.Add("v1beta1alpha1", "vbeta", "v1alpha")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		require.Equal(t, metav1.CompareVersions(a, b), -metav1.CompareVersions(b, a))
		require.Equal(t, a == b, metav1.CompareVersions(a, b) == 0)
		if metav1.CompareVersions(a, b) <= 0 && metav1.CompareVersions(b, c) <= 0 {
			require.LessOrEqual(t, metav1.CompareVersions(a, c), 0)
		}
	})
}

// valid is a service that has nothing wrong.
func valid() *metav1.Service {
	return &metav1.Service{
		Name: "services/a.example.com", Endpoint: "https://a.example.com", UsedServices: []string{"services/b.example.com"},
		Versions: []*metav1.ServiceVersion{
			{Version: "v2", Imports: []*metav1.ServiceImport{{Service: "services/b.example.com", Versions: []string{"v1"}}}}, {Version: "v1"},
		},
		MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu", "us"}, DefaultControlRegion: "us"},
	}
}

func TestService_Check(t *testing.T) {
	t.Parallel()
	require.NoError(t, valid().Check())
	f := func(field string, change func(*metav1.Service)) {
		t.Helper()
		s := valid()
		change(s)
		err := s.Check()
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, field, e.Field, "%v", err)
	}
	for _, id := range []string{"a", "A.example.com", "a..com", "-a.com", "a.com-", "a.1"} {
		f("name", func(s *metav1.Service) { s.Name = "services/" + id })
	}
	for _, endpoint := range []string{"a.example.com", "ftp://a", "https://", "https://u:p@a", "https://a?b", "https://a#b", "https://a b"} {
		f("endpoint", func(s *metav1.Service) { s.Endpoint = endpoint })
	}
	f("multi_region_policy.enabled_regions", func(s *metav1.Service) { s.MultiRegionPolicy = nil })
	f("multi_region_policy.enabled_regions", func(s *metav1.Service) { s.MultiRegionPolicy.EnabledRegions = []string{"us", "*"} })
	f("multi_region_policy.enabled_regions", func(s *metav1.Service) { s.MultiRegionPolicy.EnabledRegions = []string{"us", "us"} })
	f("multi_region_policy.default_control_region", func(s *metav1.Service) { s.MultiRegionPolicy.DefaultControlRegion = "jp" })
	f("used_services[0]", func(s *metav1.Service) { s.UsedServices[0] = s.Name })
	f("used_services[1]", func(s *metav1.Service) { s.UsedServices = append(s.UsedServices, s.UsedServices[0]) })
	f("used_services[0]", func(s *metav1.Service) { s.UsedServices[0] = "b.example.com" })
	f("used_services[0]", func(s *metav1.Service) { s.UsedServices[0] = "services/b" })
	f("versions[0].version", func(s *metav1.Service) { s.Versions[0].Version = "2" })
	f("versions[1].version", func(s *metav1.Service) { s.Versions[1].Version = "v3" })
	f("versions[1].version", func(s *metav1.Service) { s.Versions[1].Version = "v2" })
	f("versions[0].imports[0].service", func(s *metav1.Service) { s.Versions[0].Imports[0].Service = s.Name })
	f("versions[0].imports[1].service", func(s *metav1.Service) { v := s.Versions[0]; v.Imports = append(v.Imports, v.Imports[0]) })
	f("versions[0].imports[0].versions", func(s *metav1.Service) { s.Versions[0].Imports[0].Versions = []string{"v1", "v1"} })
}

func TestDeploymentAndResource_Check(t *testing.T) {
	t.Parallel()
	f := func(field string, x interface{ Check() error }) {
		t.Helper()
		err := x.Check()
		if field == "" {
			require.NoError(t, err)
			return
		}
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field, "%v", err)
	}
	f("", &metav1.Deployment{Endpoint: "http://a", PrivateEndpoint: "http://10.0.0.1:80", LocalNetwork: "n", CurrentVersion: "v1"})
	f("endpoint", &metav1.Deployment{Endpoint: "a"})
	f("private_endpoint", &metav1.Deployment{PrivateEndpoint: "a"})
	f("local_network", &metav1.Deployment{PrivateEndpoint: "http://a"})
	f("current_version", &metav1.Deployment{CurrentVersion: "1"})
	f("upgrade_state.target_version", &metav1.Deployment{UpgradeState: &metav1.UpgradeState{TargetVersion: "x"}})

	thing := func(kind string, versions ...*metav1.ResourceVersion) *metav1.Resource {
		return &metav1.Resource{Name: "services/a.example.com/resources/things", Type: kind, Versions: versions}
	}
	v := func(name string, patterns ...string) *metav1.ResourceVersion {
		return &metav1.ResourceVersion{Version: name, Patterns: patterns}
	}
	f("", thing("a.example.com/Thing", v("v2", "things/{thing}"), v("v1", "things/{thing}")))
	f("type", thing("b.example.com/Thing"))
	f("type", thing("a.example.com/"))
	f("versions[0].version", thing("a.example.com/Thing", v("", "things/{thing}")))
	f("versions[1].version", thing("a.example.com/Thing", v("v1", "things/{thing}"), v("v2", "things/{thing}")))
	f("versions[0].patterns", thing("a.example.com/Thing", v("v1")))
}
