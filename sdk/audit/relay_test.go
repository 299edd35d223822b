package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/audittest"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// TestRelay_SinkAwayAndBack: what is handed on is away, and then fails in the
// middle again and again; changes are committed all the same, and all records
// come, the same ones.
func TestRelay_SinkAwayAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var tries, away atomic.Int64
	away.Store(1)
	w.ledger.Fail(func() error {
		if n := tries.Add(1); away.Load() == 1 || n%29 == 0 && n < 100 {
			return errors.New("the trail is away")
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.relay.Run(ctx) }()
	for i := range 20 {
		w.robot(fmt.Sprint("r", i), &samplev1.Robot{})
	}
	require.Empty(t, w.ledger.Records())
	away.Store(0)
	require.Eventually(t, func() bool { return len(w.ledger.Changes()) == 21 }, patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, audittest.Check(t.Context(), w.store, w.ledger.Changes()))
	all, err := w.ledger.Activities()
	require.NoError(t, err)
	require.Len(t, all, 21)
}

// What was trimmed while a relay was given up has one record that says so, and what
// comes after it has its records.
func TestRelay_MissedIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	run := func(until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.relay.Run(ctx) }()
		require.Eventually(t, until, patience, 10*time.Millisecond)
		cancel()
		require.NoError(t, <-done)
	}
	w.robot("before", &samplev1.Robot{})
	run(func() bool { return len(w.ledger.Changes()) == 2 })
	w.robot("missed", &samplev1.Robot{})
	gone, err := w.store.Forsake(t.Context(), "audit", "other", time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Len(t, gone, 1)
	_, err = w.store.Trim(t.Context(), 1<<40)
	require.NoError(t, err)
	var tries atomic.Int64
	w.ledger.Fail(func() error {
		if tries.Add(1) == 1 {
			return errors.New("the trail is away")
		}
		return nil
	})
	w.robot("after", &samplev1.Robot{})
	run(func() bool { return len(w.ledger.Changes()) == 3 })
	all, err := w.ledger.Activities()
	require.NoError(t, err)
	var missed []*resourcev1.ActivityLog
	for _, a := range all {
		if a.GetMethod() == audit.MissedMethod {
			missed = append(missed, a)
		}
	}
	require.Len(t, missed, 1)
	require.Equal(t, "CHANGES_MISSED", missed[0].GetStatus().GetReason())
	var after, through int
	for name, to := range map[string]*int{"after": &after, "through": &through} {
		*to, err = strconv.Atoi(missed[0].GetLabels()[name])
		require.NoError(t, err)
	}
	require.Greater(t, through, after)
}
