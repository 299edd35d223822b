package readcache

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
)

// load puts a value the way a reader does.
func load[K comparable, V any](c *Cache[K, V], key K, v V) {
	_, _ = c.Load(key, func() (V, error) { return v, nil })
}

func TestCache_KeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	c := New[int, string](10, 0)
	load(c, 0, "hot")
	for i := 1; i < 1000; i++ {
		load(c, i, "cold")
		v, ok, _ := c.Get(0)
		require.True(t, ok)
		require.Equal(t, "hot", v)
		require.LessOrEqual(t, len(c.young)+len(c.old), 10)
	}
	_, ok, _ := c.Get(500)
	require.False(t, ok)
}

func TestCache_KeepsNoError(t *testing.T) {
	t.Parallel()
	c := New[int, string](10, 0)
	boom := errors.New("boom")
	_, err := c.Load(1, func() (string, error) { return "x", boom })
	require.ErrorIs(t, err, boom)
	_, ok, _ := c.Get(1)
	require.False(t, ok)
}

func TestCache_KeepsAbsence(t *testing.T) {
	t.Parallel()
	c := New[int, string](10, 0)
	gone := &fault.Error{Kind: fault.NotFound}
	_, err := c.Load(1, func() (string, error) { return "", fmt.Errorf("read: %w", gone) })
	require.ErrorIs(t, err, gone)
	_, ok, err := c.Get(1)
	require.True(t, ok)
	require.ErrorIs(t, err, gone)
	c.Drop(1)
	_, ok, err = c.Get(1)
	require.False(t, ok)
	require.NoError(t, err)
}

func TestCache_DropBeatsAReadingUnderWay(t *testing.T) {
	t.Parallel()
	c := New[int, string](10, 0)
	v, err := c.Load(1, func() (string, error) {
		c.Drop(1) // The writer commits after the reader has read.
		return "stale", nil
	})
	require.NoError(t, err)
	require.Equal(t, "stale", v)
	_, ok, _ := c.Get(1)
	require.False(t, ok)
}

// A hit in the old generation moves there what it found, unless that was
// dropped between the finding and the moving.
func TestCache_DropBeatsAPromotionUnderWay(t *testing.T) {
	t.Parallel()
	c := New[int, string](2, 0)
	load(c, 1, "stale")
	load(c, 2, "b")
	require.Contains(t, c.old, 1)
	c.Drop(1)
	c.promote(1)
	_, ok, _ := c.Get(1)
	require.False(t, ok)
}

func TestCache_AgeCountsFromBeforeTheReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New[int, string](10, 5*time.Second)
		_, err := c.Load(1, func() (string, error) {
			time.Sleep(2 * time.Second)
			return "a", nil
		})
		require.NoError(t, err)
		time.Sleep(3*time.Second - time.Nanosecond)
		_, ok, _ := c.Get(1)
		require.True(t, ok)
		time.Sleep(time.Nanosecond)
		_, ok, _ = c.Get(1)
		require.False(t, ok)
	})
}

// A writer that drops after every write never has readers see less than what
// it had finished before they began.
func TestCache_ConcurrentReadersSeeFinishedWrites(t *testing.T) {
	t.Parallel()
	c := New[int, int64](4, 0)
	var truth, finished atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := finished.Load()
				v, ok, _ := c.Get(7)
				if !ok {
					v, _ = c.Load(7, func() (int64, error) { return truth.Load(), nil })
				}
				if v < least {
					t.Errorf("read %d after %d was finished", v, least)
					return
				}
			}
		})
	}
	for i := int64(1); i <= 20_000; i++ {
		truth.Store(i)
		c.Drop(7)
		finished.Store(i)
	}
	close(stop)
	readers.Wait()
}

// Against a plain map: what the cache has is never wrong, and never too much.
func TestCache_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(2, 9).Draw(t, "size")
		c := New[int, int](size, 0)
		truth := map[int]int{}
		key := rapid.IntRange(0, 12)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				k := key.Draw(t, "key")
				truth[k]++
				c.Drop(k)
			},
			"read": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if v, ok, _ := c.Get(k); ok {
					require.Equal(t, truth[k], v)
					return
				}
				load(c, k, truth[k])
				v, ok, _ := c.Get(k)
				require.True(t, ok)
				require.Equal(t, truth[k], v)
			},
			"": func(t *rapid.T) { require.LessOrEqual(t, len(c.young)+len(c.old), size) },
		})
	})
}
