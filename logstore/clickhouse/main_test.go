package clickhouse_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs fewer of the draws that are also made for other stores: here each
// is hundreds of queries to a server. The command line may say otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
