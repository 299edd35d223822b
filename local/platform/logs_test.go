package platform

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
)

// What a descriptor promotes reaches the store of logs, which is opened before
// anybody knows what descriptors there are.
// SPEC A5
func TestLogs_StoreIsToldWhatIsPromoted(t *testing.T) {
	t.Parallel()
	require.Nil(t, new(Platform).promotedLabels(&logstore.Entry{Project: "p", Log: "faults"}))
	p, err := Open(t.Context(), Config{Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", AdminKey: testKey})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-stopped)
		require.NoError(t, p.Close())
	})
	ask(t, p, "projects/p/logDescriptors?logDescriptorId=faults",
		`{"logId":"faults","labels":[{"key":"line"},{"key":"shift"}],"promotedLabelSets":[{"keys":["shift","line"]}]}`)
	require.Eventually(t, func() bool {
		return slices.Equal([]string{"line", "shift"}, p.promotedLabels(&logstore.Entry{Project: "p", Bucket: "_Default", Log: "faults"}))
	}, 20*time.Second, 5*time.Millisecond)
	require.Nil(t, p.promotedLabels(&logstore.Entry{Project: "q", Bucket: "_Default", Log: "faults"}))
	require.Nil(t, p.promotedLabels(&logstore.Entry{Project: "p", Bucket: auditBucket, Log: "faults"}))
}
