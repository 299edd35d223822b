package embedded_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/embedded"
	"selvedge.dev/logstore/filter"
)

// factory makes entries of realistic with labels as of a factory: 40 lines, 3 shifts
// and 200 machines, each of one line.
func factory(from, n int) []logstore.Entry {
	entries := realistic(from, n)
	for i := range entries {
		e := &entries[i]
		machine := (from + i) * 7919 % 200
		e.ResourceType, e.ResourceLabels = "generic_task", map[string]string{"job": "line"}
		e.Labels["machine"], e.Labels["line"] = fmt.Sprint(machine), fmt.Sprint(machine%40)
		e.Labels["shift"] = []string{"early", "late", "night"}[(from+i)/1_000%3]
	}
	return entries
}

// BenchmarkPromoted gives a million entries to three stores and asks these for labels,
// by turns: one that has no index of labels, one of a set of two (120 streams a day),
// and one of a third besides (600).
func BenchmarkPromoted(b *testing.B) {
	const n = 1_000_000
	names := []string{"plain", "set", "three"}
	stores, dirs, spent := [3]*embedded.Store{}, [3]string{}, [3]time.Duration{}
	for i, promoted := range []logstore.Promoted{
		func(*logstore.Entry) []string { return nil }, func(*logstore.Entry) []string { return []string{"line", "shift"} },
		func(*logstore.Entry) []string { return []string{"line", "machine", "shift"} },
	} {
		var err error
		dirs[i] = b.TempDir()
		stores[i], err = embedded.Open(dirs[i], embedded.Options{MinFreeBytes: 1, Once: true, Promoted: promoted})
		require.NoError(b, err)
	}
	turns := func(do func(s *embedded.Store)) {
		for i, s := range stores {
			start := time.Now()
			do(s)
			spent[i] += time.Since(start)
		}
	}
	b.Run("Append", func(b *testing.B) {
		require.Equal(b, 1, b.N, "once: -benchtime 1x")
		for i := 0; i < n; i += benchBatch {
			entries := factory(i, benchBatch)
			turns(func(s *embedded.Store) { require.NoError(b, s.Append(context.Background(), entries)) })
		}
		turns(func(s *embedded.Store) { require.NoError(b, s.Sync(context.Background())) })
		for i, name := range names {
			b.ReportMetric(n/spent[i].Seconds(), name+"-entries/s")
			b.ReportMetric(float64(bytesIn(b, dirs[i]))/n, name+"-B/entry")
		}
	})
	for _, question := range []struct{ name, text string }{
		{"Set", `labels.line="3" AND labels.shift="late"`},
		{"One", `labels.line="3"`},
		{"OneOfTwo", `labels.line="3" OR labels.line="4"`},
		{"Three", `labels.machine="43" AND labels.line="3" AND labels.shift="late"`},
		{"Nothing", `labels.line="3" AND labels.machine="44"`},
		{"SetErrorsWord", `labels.line="3" AND labels.shift="late" AND severity>=ERROR AND SEARCH("timeout")`},
		{"NotPromoted", `labels.device_id="device-77"`},
		{"Resource", `resource.labels.job="line" AND severity>=ERROR`},
	} {
		f, err := filter.Parse(question.text)
		require.NoError(b, err)
		sel := logstore.Selection{Project: "p", Filter: f}
		for kind, ask := range map[string]func(s *embedded.Store) error{
			"List": func(s *embedded.Store) error {
				_, err := s.List(context.Background(), logstore.Query{Selection: sel, Descending: true, Limit: 100})
				return err
			},
			"Count": func(s *embedded.Store) error {
				_, err := s.Count(context.Background(), logstore.Counting{Selection: sel})
				return err
			},
		} {
			b.Run(kind+"/"+question.name, func(b *testing.B) {
				turns(func(s *embedded.Store) { require.NoError(b, ask(s)) }) // which warms up
				clear(spent[:])
				const rounds = 30
				for range rounds {
					turns(func(s *embedded.Store) { require.NoError(b, ask(s)) })
				}
				for i, name := range names {
					b.ReportMetric(1000*spent[i].Seconds()/rounds, name+"-ms")
				}
			})
		}
	}
	for _, s := range stores {
		require.NoError(b, s.Close())
	}
}

// bytesIn is how many bytes the files in a folder are.
func bytesIn(b *testing.B, dir string) (n int64) {
	b.Helper()
	require.NoError(b, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err == nil {
				n += info.Size()
			}
		}
		return nil // a file that was merged away
	}))
	return n
}
