package resource_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

func TestParse_Accepts(t *testing.T) {
	t.Parallel()
	f := func(p resource.Pattern, s, project, collection, id string) {
		t.Helper()
		n, err := p.Parse(s)
		require.NoError(t, err)
		require.Equal(t, s, string(n))
		require.Equal(t, []string{project, collection, id}, []string{n.Project(), n.Collection(), n.ID()})
	}
	f(resource.Project, "projects/p", "p", "projects", "p")
	f(resource.Project, "projects/"+strings.Repeat("a", 63), strings.Repeat("a", 63), "projects", strings.Repeat("a", 63))
	f(resource.Device, "projects/p-1/devices/Boat.7_x~y-z", "p-1", "devices", "Boat.7_x~y-z")
	f(resource.Device, "projects/p/devices/"+strings.Repeat("9", 128), "p", "devices", strings.Repeat("9", 128))
	f(resource.Device, "projects/projects/devices/devices", "projects", "devices", "devices")
	f(resource.Blueprint, "projects/p/blueprints/b", "p", "blueprints", "b")
	f("keys/{key}", "keys/k", "", "keys", "k")
}

func TestParse_NamesTheSegmentAtFault(t *testing.T) {
	t.Parallel()
	f := func(p resource.Pattern, s, field, message string) {
		t.Helper()
		_, err := p.Parse(s)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
		require.Contains(t, e.Message(), message)
		require.Less(t, len(err.Error()), 1000)
	}
	f(resource.Device, "", "projects", `segment 1: "" must be "projects"`)
	f(resource.Device, "project/p/devices/d", "projects", `segment 1: "project" must be "projects"`)
	f(resource.Device, "projects", "project", "segment 2 is missing: want projects/{project}/devices/{device}")
	f(resource.Device, "projects//devices/d", "project", `segment 2: project id "" must be`)
	f(resource.Device, "projects/P/devices/d", "project", `segment 2: project id "P" must be 1 to 63`)
	f(resource.Device, "projects/1p/devices/d", "project", "segment 2")
	f(resource.Device, "projects/p_q/devices/d", "project", "segment 2")
	f(resource.Device, "projects/"+strings.Repeat("a", 64)+"/devices/d", "project", "segment 2")
	f(resource.Device, "projects/p", "devices", "segment 3 is missing")
	f(resource.Device, "projects/p/", "devices", `segment 3: "" must be "devices"`)
	f(resource.Device, "projects/p/blueprints/d", "devices", `segment 3: "blueprints" must be "devices"`)
	f(resource.Device, "projects/p/devices", "device", "segment 4 is missing")
	f(resource.Device, "projects/p/devices/.", "device", `segment 4: device id "." must be 1 to 128`)
	f(resource.Device, "projects/p/devices/..", "device", "segment 4")
	f(resource.Device, "projects/p/devices/d:alias", "device", "segment 4")
	f(resource.Device, "projects/p/devices/ä", "device", "segment 4")
	f(resource.Device, "projects/p/devices/d\x00", "device", "segment 4")
	f(resource.Device, "projects/p/devices/"+strings.Repeat("d", 5000), "device", "segment 4")
	f(resource.Device, "projects/p/devices/d/x", "", "segment 5 is one too many")
	f(resource.Device, "projects/p/devices/d/", "", "segment 5 is one too many")
	f(resource.Device, "/projects/p/devices/d", "projects", "segment 1")
	f(resource.Project, "projects/p/devices/d", "", "segment 3 is one too many: want projects/{project}")
}

func TestFormat_ChecksEveryID(t *testing.T) {
	t.Parallel()
	n, err := resource.Device.Format("p", "d")
	require.NoError(t, err)
	require.Equal(t, resource.Name("projects/p/devices/d"), n)
	require.Equal(t, resource.Name("projects/p"), n.Parent())
	require.Equal(t, resource.Name(""), n.Parent().Parent())

	for _, ids := range [][]string{{"", "d"}, {"p", ""}, {"p", "d/e"}, {"p/devices/d", "d"}} {
		_, err := resource.Device.Format(ids...)
		require.Equal(t, fault.Invalid, fault.KindOf(err), ids)
	}
	require.Panics(t, func() { _, _ = resource.Device.Format("p") })
}

func TestParse_DoesNotAllocate(t *testing.T) {
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n, err := resource.Device.Parse("projects/p/devices/d-1")
		if err != nil || n.Project() != "p" || n.ID() != "d-1" {
			panic("wrong")
		}
	}))
}

// FuzzParse holds the parser against the grammar written as a regular
// expression, and every name against what its parts make.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "/", "projects/p/devices/d", "projects/p/devices/d/", "projects//devices/", "projects/p/devices/..",
		"projects/p/blueprints/d", "projects/p-/devices/0~", "projects/p\n/devices/d", "projects/p/devices/\xff",
	} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\Aprojects/[a-z][a-z0-9-]{0,62}/devices/[a-zA-Z0-9][a-zA-Z0-9._~-]{0,127}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		n, err := resource.Device.Parse(s)
		require.Equal(t, grammar.MatchString(s), err == nil, "%q: %v", s, err)
		if err != nil {
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message(), "segment ")
			return
		}
		again, err := resource.Device.Format(n.Project(), n.ID())
		require.NoError(t, err)
		require.Equal(t, s, string(again))
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resource.Device.Parse("projects/factory-7/devices/gateway-0042"); err != nil {
			b.Fatal(err)
		}
	}
}
