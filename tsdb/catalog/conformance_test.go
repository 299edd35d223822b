package catalog_test

import (
	"testing"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
)

func TestDescriptors(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDescriptors(t, func(t *testing.T, dir string) tsdb.Descriptors { return open(t, dir) })
}
