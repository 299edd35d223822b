package broker

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/journal"
)

// enveloped is an envelope with everything in it.
func enveloped() envelope {
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("t")
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Broker, "mine")
	at := homeOf(&e)
	return envelope{
		origin: fromReply, key: keyOf(&e, at, "p/a"), hops: 7, arrival: time.UnixMilli(1_700_000_000_000).UTC(),
		answers: 1 << 40, by: "p/a", target: "p/b", home: at, event: &e,
	}
}

func TestEnvelope_RoundTrip(t *testing.T) {
	t.Parallel()
	v := enveloped()
	record, err := v.append(nil)
	require.NoError(t, err)
	back, err := parseEnvelope(record)
	require.NoError(t, err)
	require.Equal(t, v.event.String(), back.event.String())
	back.event = v.event
	require.Equal(t, v, *back)
	require.Equal(t, home{"p", "mine"}, back.home)
}

// A journal of before there were replies with causes is read on.
func TestEnvelope_FirstVersion(t *testing.T) {
	t.Parallel()
	v := enveloped()
	v.answers, v.by, v.target = 0, "", ""
	record, err := v.append(nil)
	require.NoError(t, err)
	arrival := headerLen + len(record[headerLen:]) - len(afterArrival(t, record))
	old := append(bytes.Clone(record[:arrival]), record[arrival+3:]...) // no cause, by and target
	old[0] = envelopeFirst
	back, err := parseEnvelope(old)
	require.NoError(t, err)
	back.event = v.event
	require.Equal(t, v, *back)
}

// afterArrival is what follows the arrival time in a record.
func afterArrival(t *testing.T, record []byte) []byte {
	t.Helper()
	n := 0
	for record[headerLen+n]&0x80 != 0 {
		n++
	}
	return record[headerLen+n+1:]
}

// Two brokers may have the same event, and so may a replay of it.
func TestKeyOf_TellsApart(t *testing.T) {
	t.Parallel()
	e := *enveloped().event
	seen := map[key]bool{}
	for _, at := range []home{{"p", DefaultBroker}, {"p", "mine"}, {"q", DefaultBroker}} {
		for _, stage := range []string{"", "p/a", "p/a#1@7"} {
			k := keyOf(&e, at, stage)
			require.False(t, seen[k], "%v %s", at, stage)
			seen[k] = true
		}
	}
}

// FuzzParseEnvelope: no record panics, and what is read is written the same.
func FuzzParseEnvelope(f *testing.F) {
	v := enveloped()
	record, err := v.append(nil)
	require.NoError(f, err)
	f.Add(record)
	f.Add(record[:headerLen+3])
	old := bytes.Clone(record)
	old[0] = envelopeFirst
	f.Add(old)
	f.Fuzz(func(t *testing.T, record []byte) {
		v, err := parseEnvelope(record)
		if err != nil {
			return
		}
		again, err := v.append(nil)
		require.NoError(t, err)
		back, err := parseEnvelope(again)
		require.NoError(t, err)
		require.Equal(t, v.by, back.by)
		require.Equal(t, v.target, back.target)
		require.Equal(t, v.answers, back.answers)
		require.Equal(t, v.arrival.UnixMilli(), back.arrival.UnixMilli())
	})
}

func TestHistory_KeepsTheNewest(t *testing.T) {
	t.Parallel()
	var h history
	for i := range takenKept + 10 {
		h.add([]attempt{{offset: journal.Offset(i), at: int64(i)}})
	}
	for i := range failedKept + 10 {
		h.fail(attempt{offset: journal.Offset(i), at: int64(i), fate: retried}, "no")
	}
	require.Empty(t, h.of(9))
	require.Len(t, h.of(10), 2)
	require.Len(t, h.of(takenKept+9), 1)
	require.Len(t, h.taken.items, takenKept)
	require.Len(t, h.failed.items, failedKept)
}
