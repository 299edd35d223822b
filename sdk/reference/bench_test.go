package reference_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
)

// BenchmarkCreateAndDelete creates and deletes a robot that refers to two
// resources, among 2,000 others, on SQLite: with the plugin and without.
func BenchmarkCreateAndDelete(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("references=%v", with), func(b *testing.B) {
			d, err := sqlite.OpenDriver(b.Context(), filepath.Join(b.TempDir(), "db"), sqlite.Options{})
			require.NoError(b, err)
			defer func() { require.NoError(b, d.Close()) }()
			types := &schema.Registry{}
			samplev1.AddTo(types)
			all := []store.Plugin{plugins.Meta{}}
			if with {
				all = append(all, reference.New(reference.Options{}))
			}
			st := store.New(d, types, store.Options{Plugins: all})
			x := types.Of(robotType)
			do := func(f func(ctx context.Context) error) { require.NoError(b, st.Run(b.Context(), store.Transaction, f)) }
			spec := &samplev1.RobotSpec{Model: modelName("m"), Leader: robotName("d0")}
			do(func(ctx context.Context) error {
				for _, s := range names("d", 2000) {
					if err := st.Save(ctx, robot(s, nil), store.SaveOptions{}); err != nil {
						return err
					}
				}
				return st.Save(ctx, model("m"), store.SaveOptions{})
			})
			b.ReportAllocs()
			for b.Loop() {
				do(func(ctx context.Context) error { return st.Save(ctx, robot("x", spec), store.SaveOptions{}) })
				do(func(ctx context.Context) error {
					return st.Delete(ctx, x, resource.Name(robotName("x")), store.DeleteOptions{})
				})
			}
		})
	}
}
