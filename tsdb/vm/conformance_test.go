package vm_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// decades is a retention that reaches back to every instant of the suites.
const decades = 50 * 365 * 24 * time.Hour

// open opens a store that keeps what the suites write.
func open(t *testing.T, dir string) tsdb.Store {
	t.Helper()
	s, err := vm.Open(dir, vm.Options{Retention: decades})
	require.NoError(t, err)
	return s
}

// openDescribed is open with descriptors.
func openDescribed(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store {
	t.Helper()
	s, err := vm.Open(dir, vm.Options{
		Retention: decades,
		Describe: func(project, metric string) (tsdb.Descriptor, bool) {
			d, err := ds.Descriptor(context.Background(), project, metric)
			return d, err == nil
		},
	})
	require.NoError(t, err)
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	tsdbtest.RunStore(t, open)
}

func TestStore_Durable(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDurable(t, open)
}

func TestStore_Described(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDescribed(t, openDescribed)
}

func TestStore_Scripts(t *testing.T) {
	t.Parallel()
	tsdbtest.RunScripts(t, openDescribed)
}
