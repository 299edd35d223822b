package store_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
)

// A type that gets another index, or loses one, finds the objects from before
// by it all the same.
func TestReindex_OfObjectsFromBefore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	// release opens the store as a release whose robots are also indexed by that
	// path.
	release := func(path string, unique bool) *world {
		d, err := sqlite.OpenDriver(t.Context(), filepath.Join(filepath.Dir(path), "db"), sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = d.Close() })
		w := openOn(t, d, nil)
		if more := filepath.Base(path); more != "db" {
			p, err := fieldpath.Parse(w.robots.Message.Descriptor(), more)
			require.NoError(t, err)
			w.robots.Indexes = append(slices.Clone(w.robots.Indexes), schema.Index{Path: p, Unique: unique})
		}
		return w
	}
	found := func(w *world, text string) []string {
		q := w.query("projects/p", text, "", 2000)
		return w.ids(w.list(q))
	}
	w := release(path, false)
	require.Equal(t, "OTHER_RELEASE", fault.ReasonOf(w.Indexed(t.Context())), "nobody has indexed anything")
	require.NoError(t, w.Reindex(t.Context()))
	require.NoError(t, w.Indexed(t.Context()))
	var version string
	for _, id := range []string{"a", "b", "c"} {
		color := map[string]string{"a": "red", "b": "blue", "c": "red"}[id]
		w.save(machine("projects/p/robots/"+id, 1, color))
		version = w.get(robot(id)).GetMetadata().GetResourceVersion()
	}
	for i := range 1200 { // more than one commit of it
		w.save(&samplev1.Robot{Name: string(robot("n" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))))})
	}
	require.NoError(t, w.Driver().(*sqlite.Driver).Close())

	colored := filepath.Join(filepath.Dir(path), "spec.color")
	w = release(colored, false)
	require.Empty(t, found(w, `spec.color = red`), "it would be wrong without")
	require.Equal(t, "OTHER_RELEASE", fault.ReasonOf(w.Indexed(t.Context())))
	require.NoError(t, w.Reindex(t.Context()))
	require.NoError(t, w.Indexed(t.Context()))
	require.Equal(t, []string{"a", "c"}, found(w, `spec.color = red`))
	require.Equal(t, version, w.get(robot("c")).GetMetadata().GetResourceVersion())
	require.Len(t, found(w, `NOT spec.color = red`), 1201)
	q := w.query("projects/p", "", "spec.color desc", 3)
	require.Equal(t, []string{"a", "c", "b"}, w.ids(w.list(q)))
	require.NoError(t, w.Reindex(t.Context()))
	require.NoError(t, w.Driver().(*sqlite.Driver).Close())

	w = release(colored, true)
	err := w.Reindex(t.Context())
	require.Equal(t, fault.Exists, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "sample.selvedge.dev/Robot")
	require.NoError(t, w.Driver().(*sqlite.Driver).Close())

	w = release(path, false)
	require.NoError(t, w.Reindex(t.Context()))
	require.Equal(t, []string{"a", "c"}, found(w, `spec.color = red`))
	require.NoError(t, w.do(func(ctx context.Context) error {
		return w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{})
	}))
	require.Equal(t, []string{"c"}, found(w, `spec.color = red`))
	_, err = filter.Parse(w.robots, "spec.color = red")
	require.NoError(t, err)
}
