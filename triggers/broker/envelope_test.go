package broker

import (
	"bytes"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"
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
	return envelope{
		origin: fromReply, key: keyOf(&e, homeOf(&e), "p/a"), hops: 7, arrival: time.UnixMilli(1_700_000_000_000).UTC(),
		answers: 1 << 40, by: "p/a", target: "p/b", event: &e,
	}
}

// requireEntry is what an entry of a record of enveloped must say.
func requireEntry(t *testing.T, want envelope, record []byte) {
	t.Helper()
	var v entry
	require.NoError(t, v.read(17, record))
	o, k, err := parseKey(record)
	require.NoError(t, err)
	require.Equal(t, want.origin, o)
	require.Equal(t, want.key, k)
	require.EqualValues(t, 17, v.offset)
	require.Equal(t, want.hops, v.hops)
	require.Equal(t, want.arrival, v.time())
	require.Equal(t, want.answers, v.answers)
	require.Equal(t, want.by, string(v.by()))
	require.Equal(t, want.target, string(v.target()))
	require.Equal(t, home{"p", "mine"}, home{string(v.project()), v.broker()})
	require.True(t, v.elsewhere)
	seen, err := v.seen()
	require.NoError(t, err)
	require.Equal(t, want.event, seen)
	own, err := v.copy()
	require.NoError(t, err)
	arrived, _ := event.Value(&own, event.ArrivalTime)
	require.Equal(t, types.Timestamp{Time: want.arrival}, arrived)
	event.Set(&own, event.ArrivalTime, nil)
	require.Equal(t, *want.event, own)
}

func TestEnvelope_RoundTrip(t *testing.T) {
	t.Parallel()
	v := enveloped()
	record, err := v.append(nil)
	require.NoError(t, err)
	requireEntry(t, v, record)
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
	requireEntry(t, v, old)
}

// An entry that is used again has nothing of what it was.
func TestEntry_IsReadAnew(t *testing.T) {
	t.Parallel()
	first := enveloped()
	record, err := first.append(nil)
	require.NoError(t, err)
	e := event.New()
	e.SetID("2")
	e.SetSource("/other")
	e.SetType("u")
	second := envelope{hops: 3, arrival: time.UnixMilli(5).UTC(), event: &e}
	other, err := second.append(nil)
	require.NoError(t, err)
	var v entry
	require.NoError(t, v.read(1, record))
	_, err = v.seen()
	require.NoError(t, err)
	require.NoError(t, v.read(2, other))
	require.Empty(t, v.by())
	require.Empty(t, v.target())
	require.Zero(t, v.answers)
	require.False(t, v.elsewhere)
	seen, err := v.seen()
	require.NoError(t, err)
	require.Equal(t, &e, seen)

	apart := v.apart()
	clear(other)
	require.Equal(t, "2", string(apart.head.ID()))
	require.Same(t, apart, apart.apart(), "once is enough")
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

// FuzzEntry: no record panics, and what is read is what was written.
func FuzzEntry(f *testing.F) {
	v := enveloped()
	record, err := v.append(nil)
	require.NoError(f, err)
	f.Add(record)
	f.Add(record[:headerLen+3])
	old := bytes.Clone(record)
	old[0] = envelopeFirst
	f.Add(old)
	f.Fuzz(func(t *testing.T, record []byte) {
		var v, back entry
		if v.read(1, record) != nil {
			return
		}
		e, err := v.seen()
		if err != nil {
			return
		}
		w := envelope{hops: v.hops, arrival: v.time(), answers: v.answers, by: string(v.by()), target: string(v.target()), event: e}
		again, err := w.append(nil)
		require.NoError(t, err)
		require.NoError(t, back.read(1, again))
		require.Equal(t, string(v.by()), string(back.by()))
		require.Equal(t, string(v.target()), string(back.target()))
		require.Equal(t, v.answers, back.answers)
		require.Equal(t, v.arrival, back.arrival)
		require.Equal(t, string(v.head.ID()), string(back.head.ID()))
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
