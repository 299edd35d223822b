package vm_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// scanning is a store whose Select is a Scan, so that the conformance suite is
// one of Scan.
type scanning struct{ *vm.Store }

// Select copies the points in the workers and visits the copies.
func (s scanning) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	return s.Scan(ctx, sel, func(_ *tsdb.Series, p tsdb.Points) (any, error) {
		return p.Clone(), nil
	}, func(series *tsdb.Series, made any) (bool, error) {
		return true, visit(series, made.(tsdb.Points))
	})
}

func TestScan_IsASelect(t *testing.T) {
	t.Parallel()
	tsdbtest.RunStore(t, func(t *testing.T, dir string) tsdb.Store {
		s, err := vm.Open(dir, vm.Options{Retention: decades})
		require.NoError(t, err)
		return scanning{s}
	})
}

// scanned is a store with so many series of one point.
func scanned(t *testing.T, n int) (*vm.Store, tsdb.Selection) {
	t.Helper()
	s, err := vm.Open(t.TempDir(), vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	at := tsdb.Millis(time.Now().Add(-time.Hour).UnixMilli())
	var batch []tsdb.Sample
	for i := range n {
		one := device(i*7919%n, 0)
		one.ResourceLabels[0].Value = fmt.Sprintf("device-%05d", i*7919%n)
		batch = append(batch, tsdb.Sample{Series: one, Time: at, Value: float64(i * 7919 % n)})
	}
	require.NoError(t, s.Append(t.Context(), batch))
	return s, tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: at, End: at}}
}

// value is a work that returns the value of the one point.
func value(_ *tsdb.Series, p tsdb.Points) (any, error) { return p.Values[0], nil }

func TestScan_InOrderUntilEnough(t *testing.T) {
	t.Parallel()
	const n = 1000
	s, sel := scanned(t, n)
	for _, enough := range []int{1, 2, 500, n, n + 1} {
		var got []float64
		require.NoError(t, s.Scan(t.Context(), sel, value, func(_ *tsdb.Series, made any) (bool, error) {
			got = append(got, made.(float64))
			return len(got) < enough, nil
		}))
		require.Len(t, got, min(n, enough))
		for i, v := range got {
			require.Equal(t, float64(i), v)
		}
	}
}

func TestScan_Errors(t *testing.T) {
	t.Parallel()
	const n = 1000
	s, sel := scanned(t, n)
	stop := errors.New("stop")
	// Everything before the series that fails is visited, and nothing behind.
	for _, bad := range []float64{0, 3, 500, n - 1} {
		visits := 0
		err := s.Scan(t.Context(), sel, func(series *tsdb.Series, p tsdb.Points) (any, error) {
			if p.Values[0] == bad {
				return nil, stop
			}
			return value(series, p)
		}, func(*tsdb.Series, any) (bool, error) { visits++; return true, nil })
		require.Equal(t, stop, err)
		require.Equal(t, int(bad), visits)
	}
	err := s.Scan(t.Context(), sel, value, func(*tsdb.Series, any) (bool, error) { return true, stop })
	require.Equal(t, stop, err)

	ctx, cancel := context.WithCancel(t.Context())
	var works atomic.Int64
	err = s.Scan(ctx, sel, func(series *tsdb.Series, p tsdb.Points) (any, error) {
		if works.Add(1) == 10 {
			cancel()
		}
		return value(series, p)
	}, func(*tsdb.Series, any) (bool, error) { return true, nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, works.Load(), int64(100))
	require.Equal(t, fault.Invalid, fault.KindOf(s.Scan(t.Context(), tsdb.Selection{}, value, nil)))
	require.NoError(t, s.Close())
	require.Equal(t, fault.Unavailable, fault.KindOf(s.Scan(t.Context(), sel, value, nil)))
}
