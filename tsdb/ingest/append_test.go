package ingest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// picky is a store that takes no negative value, all or nothing, and fails with
// err.
type picky struct {
	taken []float64
	err   error
}

// Check implements ingest.Checker.
func (p *picky) Check(s tsdb.Sample) string {
	if s.Value < 0 {
		return "NEGATIVE"
	}
	return ""
}

// Append implements ingest.Appender.
func (p *picky) Append(_ context.Context, samples []tsdb.Sample) error {
	for _, s := range samples {
		if p.Check(s) != "" {
			return &fault.Error{Kind: fault.Invalid}
		}
	}
	if p.err != nil {
		return p.err
	}
	for _, s := range samples {
		p.taken = append(p.taken, s.Value)
	}
	return nil
}

// Of a batch with samples that the store refuses the others are kept.
func TestAppend(t *testing.T) {
	t.Parallel()
	f := func(to *picky, kind fault.Kind, refused int, values ...float64) {
		t.Helper()
		samples := make([]tsdb.Sample, len(values))
		for i, v := range values {
			samples[i].Value = v
		}
		got := 0
		kept, err := ingest.Append(t.Context(), to, samples, func(s tsdb.Sample, reason string) {
			require.Negative(t, s.Value)
			require.Equal(t, "NEGATIVE", reason)
			got++
		})
		require.Equal(t, refused, got)
		if kind != fault.Internal {
			require.Equal(t, kind, fault.KindOf(err))
			require.Empty(t, to.taken)
			return
		}
		require.NoError(t, err)
		require.Len(t, kept, len(values)-refused)
		require.Len(t, to.taken, len(values)-refused)
	}
	f(&picky{}, fault.Internal, 0)
	f(&picky{}, fault.Internal, 0, 1, 2)
	f(&picky{}, fault.Internal, 2, -1, 2, -3)
	f(&picky{}, fault.Internal, 2, -1, -3)
	f(&picky{err: errors.New("broken")}, fault.Unavailable, 0, 1)
	f(&picky{err: errors.New("broken")}, fault.Unavailable, 1, 1, -1)
	f(&picky{err: &fault.Error{Kind: fault.Exhausted}}, fault.Exhausted, 0, 1)
	// A refusal that the store does not explain is told, and nothing is tried for ever.
	f(&picky{err: &fault.Error{Kind: fault.Invalid}}, fault.Invalid, 0, 1)
}
