package once_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/logstore/once"
)

// entry makes an entry.
func entry(project, bucket, log, id string, at time.Duration) logstore.Entry {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return logstore.Entry{Project: project, Bucket: bucket, Log: log, InsertID: id, Time: noon.Add(at), Received: noon}
}

func TestKeyOf_IsOfWhatMakesTwoOne(t *testing.T) {
	t.Parallel()
	e := entry("p", "b", "l", "i", 0)
	same := e
	same.Severity, same.Seq, same.Origin, same.Received = logstore.Error, 7, "o", e.Received.Add(1)
	require.Equal(t, once.KeyOf(&e), once.KeyOf(&same))
	for _, other := range []logstore.Entry{
		entry("q", "b", "l", "i", 0), entry("p", "c", "l", "i", 0), entry("p", "b", "m", "i", 0), entry("p", "b", "l", "j", 0),
		entry("p", "b", "l", "i", 1), entry("pb", "", "l", "i", 0), entry("p", "b", "li", "", 0),
	} {
		require.NotEqual(t, once.KeyOf(&e), once.KeyOf(&other), "%+v", other)
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	store := memory.New()
	var there, asked []logstore.Entry
	for i := range 1000 {
		e := entry("p", fmt.Sprint("b", i%3), "l", fmt.Sprint(i/2), time.Duration(i%7)*time.Hour)
		asked = append(asked, e)
		if i%5 == 0 {
			there = append(there, e)
		}
		// Like it, but another entry.
		e.Log = "other"
		there = append(there, e)
	}
	require.NoError(t, store.Append(t.Context(), there))
	known, err := once.Known(t.Context(), store, asked)
	require.NoError(t, err)
	for i := range asked {
		require.Equal(t, i%5 == 0, known[once.KeyOf(&asked[i])], i)
	}
}
