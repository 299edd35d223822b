package embedded_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/logstoretest"
)

// Answers do not depend on which labels are promoted.
// SPEC A5
func TestPromoted_AnswersAreTheSame(t *testing.T) {
	t.Parallel()
	logstoretest.RunPromoted(t, func(t *testing.T, dir string, promoted logstore.Promoted) logstore.Store {
		s, err := embedded.Open(dir, embedded.Options{MinFreeBytes: 1, Promoted: promoted})
		require.NoError(t, err)
		return s
	})
}

// An entry that is sent before its labels are promoted, after, and after a restart,
// is stored once.
// SPEC A5
func TestPromoted_OnceOverChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var promoted atomic.Pointer[[]string]
	promoted.Store(&[]string{})
	var entries []logstore.Entry
	for i := range 20 {
		e := dated("b", fmt.Sprint(i), 0)
		e.Labels = map[string]string{"line": fmt.Sprint(i % 2), "shift": fmt.Sprint(i % 3)}
		entries = append(entries, e)
	}
	for round, keys := range [][]string{{}, {"line"}, {"line", "shift"}, {"shift"}, {}} {
		s, err := embedded.Open(filepath.Join(dir, "store"), embedded.Options{
			MinFreeBytes: 1, Once: true, Promoted: func(*logstore.Entry) []string { return *promoted.Load() },
		})
		require.NoError(t, err)
		in, err := intake.Open(filepath.Join(dir, "intake"), s, intake.Options{})
		require.NoError(t, err)
		send := func() {
			t.Helper()
			outcomes, err := in.Write(t.Context(), append([]logstore.Entry(nil), entries...))
			require.NoError(t, err)
			for _, o := range outcomes {
				require.NoError(t, o.Err)
			}
			require.NoError(t, in.Flush(t.Context()))
			require.Len(t, found(t, s, ""), len(entries), "round %d", round)
			require.Len(t, found(t, s, `labels.line="1" labels.shift="2"`), 3, "round %d", round)
		}
		send()
		promoted.Store(&keys)
		send()
		require.NoError(t, in.Close())
		require.NoError(t, s.Close())
	}
}

// found is what a filter selects of a project.
func found(t *testing.T, s logstore.Store, text string) []logstore.Entry {
	t.Helper()
	f, err := filter.Parse(text)
	require.NoError(t, err)
	page, err := s.List(context.Background(), logstore.Query{Selection: logstore.Selection{Project: "p", Filter: f}, Limit: logstore.MaxLimit})
	require.NoError(t, err)
	return page
}
