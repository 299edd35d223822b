package catalog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Rollups are what SetRollups was given last, whatever is declared besides, and
// are there after a restart.
func TestRollups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir)
	d := tsdb.Descriptor{Project: "p", Type: "m", Unit: "By"}
	_, err := c.SetRollups(t.Context(), "p", "m", nil)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = c.Ensure(t.Context(), d)
	require.NoError(t, err)
	require.Empty(t, c.Rolled())
	rollups := []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_MEAN"}, GroupBy: []string{"metric.labels.room"}}}
	got, err := c.SetRollups(t.Context(), "p", "m", rollups)
	require.NoError(t, err)
	require.Equal(t, rollups, got.Details.Rollups)

	d.Details = &tsdb.Details{Description: "what it is", Rollups: []tsdb.Rollup{{Period: time.Minute}}}
	got, err = c.Declare(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, rollups, got.Details.Rollups, "no Declare changes them")
	again := open(t, dir)
	require.Len(t, again.Rolled(), 1)
	require.Equal(t, rollups, again.Rolled()[0].Details.Rollups)
	require.Equal(t, "what it is", again.Rolled()[0].Details.Description)
	_, err = c.SetRollups(t.Context(), "p", "m", nil)
	require.NoError(t, err)
	require.Empty(t, c.Rolled())
}
