package platform

import (
	"os"
	"testing"

	"selvedge.dev/edgeruntime/sandbox"
)

// TestMain lets the platforms of these tests find out what sandboxes there are.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}
