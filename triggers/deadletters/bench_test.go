package deadletters_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/deadletters"
)

// BenchmarkKeep is the cost of a letter of a reading, of a thousand at once,
// also once the project is at its bound.
func BenchmarkKeep(b *testing.B) {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "db"), deadletters.Schema)
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	s := deadletters.New(db, deadletters.Options{MaxBytes: 8 << 20, Now: func() time.Time { return noon }})
	const batch = 1000
	letters := make([]deadletters.Letter, batch)
	n := 0
	b.ResetTimer()
	for range b.N / batch {
		for i := range letters {
			letters[i] = letter("p", n, 200)
			n++
		}
		require.NoError(b, s.Keep(b.Context(), letters))
	}
}
