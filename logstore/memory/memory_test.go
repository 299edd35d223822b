package memory_test

import (
	"testing"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/logstoretest"
	"selvedge.dev/logstore/memory"
)

func TestStore(t *testing.T) {
	t.Parallel()
	logstoretest.Run(t, func(*testing.T) logstore.Store { return memory.New() })
}
