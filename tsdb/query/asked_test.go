package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A filter that was asked for before is the same one, errors are not remembered,
// and neither is more than there is room for.
func TestAsked_Parse(t *testing.T) {
	t.Parallel()
	var a asked
	first, err := a.parse(`metric.type = "m" AND metric.labels.host = "a"`)
	require.NoError(t, err)
	require.Equal(t, "m", first.metric)
	require.Len(t, first.conditions, 2)
	again, err := a.parse(`metric.type = "m" AND metric.labels.host = "a"`)
	require.NoError(t, err)
	require.Same(t, first, again)

	_, err = a.parse(`metric.type = `)
	require.Error(t, err)
	none, err := a.parse("")
	require.NoError(t, err)
	require.True(t, none.empty)

	long := fmt.Sprintf(`metric.type = "%s"`, strings.Repeat("x", maxAskedBytes))
	_, err = a.parse(long)
	require.NoError(t, err)
	require.NotContains(t, a.byText, long)
	for i := range 2 * maxAsked {
		p, err := a.parse(fmt.Sprintf(`metric.type = "m%d"`, i))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("m%d", i), p.metric)
		require.LessOrEqual(t, len(a.byText), maxAsked)
	}
}
