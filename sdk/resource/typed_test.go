package resource_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// robots are the patterns of a type that may be regional.
var robots = []resource.Pattern{"projects/{project}/robots/{robot}", "projects/{project}/regions/{region}/robots/{robot}"}

// ids are the variables of [robots], to scan into.
func ids() map[string]*string {
	return map[string]*string{"project": new(string), "region": new(string), "robot": new(string)}
}

func TestScan_SetsIDs(t *testing.T) {
	t.Parallel()
	f := func(s, project, region, robot string) {
		t.Helper()
		got := ids()
		require.NoError(t, resource.Scan(s, got, robots...))
		require.Equal(t, []string{project, region, robot}, []string{*got["project"], *got["region"], *got["robot"]})
	}
	f("projects/p/robots/r", "p", "", "r")
	f("projects/p/regions/e/robots/r", "p", "e", "r")
	f("projects/-/regions/e/robots/-", "-", "e", "-")
}

func TestScan_NamesTheSegmentAtFault(t *testing.T) {
	t.Parallel()
	f := func(s, message string) {
		t.Helper()
		got := ids()
		err := resource.Scan(s, got, robots...)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Contains(t, err.Error(), message)
		require.Empty(t, *got["project"]+*got["region"]+*got["robot"], "nothing is set")
	}
	f("", `segment 1: "" must be "projects"`)
	f("projects/p", "segment 3 is missing")
	f("projects/p/robots/", `segment 4: robot id "" must be`)
	f("projects/p/regions/E!/robots/r", `segment 4: region id "E!" must be`)
	f("projects/p/robots/r/x", "segment 5 is one too many")
	f("-/p/robots/r", `segment 1: "-" must be "projects"`)
}

func TestMatch_Wildcards(t *testing.T) {
	t.Parallel()
	f := func(pattern string, n resource.Name, want bool) {
		t.Helper()
		require.Equal(t, want, resource.Match(pattern, n), "%s %s", pattern, n)
	}
	f("projects/p/robots/r", "projects/p/robots/r", true)
	f("projects/-/robots/r", "projects/p/robots/r", true)
	f("projects/-/robots/-", "projects/p/robots/r", true)
	f("projects/-/robots/-", "projects/p/robots", false)
	f("projects/-/robots/-", "projects/p/robots/r/x/y", false)
	f("projects/-/robots/-", "projects/p/orders/r", false)
	f("projects/p/robots/r", "projects/-/robots/r", false)
}

// FuzzScan holds Scan against Parse: they take the same names, but for
// wildcards, and what was read is what Match finds.
func FuzzScan(f *testing.F) {
	for _, s := range []string{"", "projects/p/robots/r", "projects/-/regions/e/robots/-", "projects/p/robots/r/", "//", "projects/p/regions/\xff/robots/-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := ids()
		err := resource.Scan(s, got, robots...)
		parsed := false
		for _, p := range robots {
			_, e := p.Parse(s)
			parsed = parsed || e == nil
		}
		if err != nil {
			require.False(t, parsed)
			return
		}
		require.True(t, parsed || strings.Contains("/"+s+"/", "/-/"), s)
		require.True(t, resource.Match(s, resource.Name(s)))
		require.True(t, strings.HasPrefix(s, "projects/"+*got["project"]+"/"))
		require.True(t, strings.HasSuffix(s, "/robots/"+*got["robot"]))
	})
}
