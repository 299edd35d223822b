package schema_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// sampleType is a type of the sample service.
func sampleType(t require.TestingT, name string) *schema.Resource {
	var r schema.Registry
	samplev1.AddTo(&r)
	x, ok := r.Type("sample.selvedge.dev/" + name)
	require.True(t, ok)
	return x
}

func TestParseParent_PrefixAndMatch(t *testing.T) {
	t.Parallel()
	f := func(typ, parent, prefix string, match, other []resource.Name) {
		t.Helper()
		p, err := schema.ParseParent(sampleType(t, typ), parent)
		require.NoError(t, err)
		require.Equal(t, parent, p.String())
		require.Equal(t, prefix, p.Prefix())
		for _, n := range match {
			require.True(t, p.Match(n), n)
			require.True(t, strings.HasPrefix(string(n), prefix), n)
		}
		for _, n := range other {
			require.False(t, p.Match(n), n)
		}
	}
	type names = []resource.Name
	f("Project", "", "projects/", names{"projects/p", "projects/q"}, names{"models/m", "projects/p/models/m", "projects"})
	f("Model", "projects/p", "projects/p/models/", names{"projects/p/models/m"}, names{"projects/q/models/m", "projects/pp/models/m"})
	f("Model", "projects/-", "projects/", names{"projects/p/models/m", "projects/q/models/m"}, names{"projects/p/orders/m"})
	f("Robot", "projects/p", "projects/p/robots/", names{"projects/p/robots/r"}, names{"projects/p/regions/e/robots/r"})
	f("Robot", "projects/p/regions/e", "projects/p/regions/e/robots/", names{"projects/p/regions/e/robots/r"},
		names{"projects/p/robots/r", "projects/p/regions/f/robots/r"})
	// SPEC 1.F 47
	f("Robot", "projects/-/regions/e", "projects/", names{"projects/p/regions/e/robots/r", "projects/q/regions/e/robots/r"},
		names{"projects/p/robots/r", "projects/p/regions/f/robots/r"})
	f("Robot", "projects/p/regions/-", "projects/p/regions/", names{"projects/p/regions/e/robots/r"}, names{"projects/q/regions/e/robots/r"})

	require.True(t, schema.Parent{}.Match("anything/goes"))
	require.Empty(t, schema.Parent{}.Prefix())
}

func TestParseParent_NamesTheSegment(t *testing.T) {
	t.Parallel()
	f := func(typ, parent, message string) {
		t.Helper()
		_, err := schema.ParseParent(sampleType(t, typ), parent)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{"parent", "INVALID_PARENT"}, []string{e.Field, e.Reason})
		require.Contains(t, e.Message(), message)
		require.Less(t, len(err.Error()), 1000)
	}
	f("Project", "projects/p", "the type is at the top")
	f("Model", "", `segment 1: "" must be "projects"`)
	f("Model", "projects", "segment 2 is missing")
	f("Model", "projects/P", `segment 2: project id "P" must be`)
	f("Model", "projects/--", `segment 2: project id "--"`)
	f("Model", "-/p", `segment 1: "-" must be "projects"`)
	f("Model", "projects/p/models/m", "segment 3 is one too many")
	f("Model", "projects/p/", "segment 3 is one too many")
	f("Robot", "projects/p/zones/e", `segment 3: "zones" must be "regions"`)
	f("Robot", "projects/p/regions/", "segment 4: region id")
	f("Robot", "projects/"+strings.Repeat("x", 9000), "segment 2")
}

func TestParent_IDOfVariables(t *testing.T) {
	t.Parallel()
	f := func(parent, variable, want string, ok bool) {
		t.Helper()
		p, err := schema.ParseParent(sampleType(t, "Robot"), parent)
		require.NoError(t, err)
		id, is := p.ID(variable)
		require.Equal(t, ok, is)
		if ok {
			require.Equal(t, want, id)
		}
	}
	f("projects/p/regions/e", "region", "e", true)
	f("projects/p/regions/e", "project", "p", true)
	f("projects/-/regions/e", "region", "e", true)
	f("projects/-/regions/e", "project", "", false)
	f("projects/p", "region", "", false)
	f("projects/p", "robot", "", false)
}

// A parent made of a name by putting wildcards in has the name under it, and
// the name begins with its prefix.
func TestParent_HasItsNames(t *testing.T) {
	t.Parallel()
	r := sampleType(t, "Robot")
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom(r.Patterns).Draw(t, "pattern")
		ids := make([]string, strings.Count(string(pattern), "{"))
		for i := range ids {
			ids[i] = rapid.StringMatching("[a-c]{1,2}").Draw(t, "id")
		}
		name, err := pattern.Format(ids...)
		require.NoError(t, err)
		segments := strings.Split(string(name.Parent()), "/")
		for i := 1; i < len(segments); i += 2 {
			if rapid.Bool().Draw(t, "wild") {
				segments[i] = resource.Wildcard
			}
		}
		p, err := schema.ParseParent(r, strings.Join(segments, "/"))
		require.NoError(t, err)
		require.True(t, p.Match(name))
		require.True(t, strings.HasPrefix(string(name), p.Prefix()))

		other := resource.Name(strings.Replace(string(name), "/", "/z", 1))
		require.Equal(t, segments[1] == resource.Wildcard, p.Match(other))
	})
}
