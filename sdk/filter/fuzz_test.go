package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
)

// FuzzParse looks for texts on which the parser panics, whose canonical text is
// another filter, and that an index answers otherwise.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "spec.armed", `spec.power >= 2 AND -(metadata.labels:"a b" OR name = "a\*b*")`, `display_name LIKE 'a%\_b'`,
		"metadata.tags CONTAINS ANY (a, 'b') spec.uptime_goal < 1.5s", "metadata.labels.`a``b` IS NOT NULL", "NOT spec.power IS NaN",
		"metadata.create_time > 2012-04-21T11:30:00-04:00", "state.phase NOT IN (IDLE, 2)", `metadata.labels."\x00".x`, "spec.parts.*.serial:*",
		"spec.power = 0x10", "spec.power = 1_0", "spec.uptime_goal = -0.5s", "spec.uptime_goal = 1h2m", "metadata.generation = +1",
	} {
		f.Add(s)
	}
	r, m := robotType(), robot().ProtoReflect()
	f.Fuzz(func(t *testing.T, s string) {
		x, err := filter.Parse(r, s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Less(t, len(err.Error()), 2000)
			return
		}
		again, err := filter.Parse(r, x.String())
		if len(x.String()) <= 8<<10 { // escapes and parentheses may go beyond the bound
			require.NoError(t, err, "%s from %s", x, s)
			require.Equal(t, x.String(), again.String())
			require.Equal(t, x.Match(m), again.Match(m))
		}
		holds(t, r, x, m)
	})
}

// FuzzParseOrder looks for texts on which the parser panics or whose canonical
// text is another order.
func FuzzParseOrder(f *testing.F) {
	for _, s := range []string{"", "name desc", "spec.power desc, metadata.createTime", "`spec`.power asc", ",", "a b c"} {
		f.Add(s)
	}
	r := robotType()
	f.Fuzz(func(t *testing.T, s string) {
		o, err := filter.ParseOrder(r, s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		again, err := filter.ParseOrder(r, o.String())
		require.NoError(t, err)
		require.Equal(t, o, again)
	})
}
