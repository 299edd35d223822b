package journal_test

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The length of the crash test, and the one world to repeat.
var (
	cutsFlag = flag.Int("cuts", 4000, "power cuts of the crash test; SELVEDGE_CRASH_CUTS overrides")
	seedFlag = flag.Uint64("seed", 0, "run only the world of this seed")
)

// wantCuts is how many power cuts the crash test makes.
func wantCuts(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("SELVEDGE_CRASH_CUTS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	return *cutsFlag / slowdown
}

// explore runs worlds until cuts power cuts have happened or a promise was
// broken. It returns the cuts and the violation.
func explore(defect defect, cuts int) (int, error) {
	var (
		seed, done atomic.Int64
		wg         sync.WaitGroup
		once       sync.Once
		broken     error
		stop       atomic.Bool
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() && done.Load() < int64(cuts) {
				w := newWorld(uint64(seed.Add(1)), defect)
				err := w.run()
				done.Add(int64(w.cuts))
				if err != nil {
					once.Do(func() { broken = err })
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return int(done.Load()), broken
}

func TestCrash_KeepsEveryPromise(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		require.NoError(t, newWorld(*seedFlag, none).run())
		return
	}
	cuts, err := explore(none, wantCuts(t))
	require.NoError(t, err, "repeat with: go test ./sdk/journal -run TestCrash_KeepsEveryPromise -args -seed=N")
	t.Logf("%d power cuts", cuts)
}

func TestCrash_SameSeedSameWorld(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		a, b := newWorld(seed, none), newWorld(seed, none)
		require.NoError(t, a.run())
		require.NoError(t, b.run())
		require.Equal(t, a.trace, b.trace)
		require.Equal(t, a.disk.Steps(), b.disk.Steps())
	}
}

func TestCrash_FindsEveryDefect(t *testing.T) {
	t.Parallel()
	for name, d := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cuts, err := explore(d, 4000)
			require.Error(t, err, "not noticed in %d power cuts", cuts)
			t.Logf("noticed after about %d power cuts: %v", cuts, err)
		})
	}
}
