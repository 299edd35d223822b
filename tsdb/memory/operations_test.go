package memory_test

import (
	"testing"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/tsdbtest"
)

func TestStore_Operations(t *testing.T) {
	t.Parallel()
	tsdbtest.RunOperations(t, func(*testing.T, string) tsdb.Store { return memory.New(nil) })
}
