package event_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
)

// anyEvent draws an event with any mix of attributes, extensions and data.
func anyEvent(t *rapid.T) event.Event {
	e := event.New()
	text := rapid.StringMatching(`[!-~éß]([ -~éß]{0,18}[!-~éß])?`)
	e.SetID(text.Draw(t, "id"))
	e.SetSource(rapid.SampledFrom([]string{"/s", "//selvedge.dev/projects/p/devices/d", "urn:x:1", "https://a.example/b?c=d#e", "a%20b"}).Draw(t, "source"))
	e.SetType(text.Draw(t, "type"))
	if rapid.Bool().Draw(t, "has subject") {
		e.SetSubject(text.Draw(t, "subject"))
	}
	if rapid.Bool().Draw(t, "has time") {
		e.SetTime(time.Unix(rapid.Int64Range(-6e10, 2e11).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC())
	}
	if rapid.Bool().Draw(t, "has schema") {
		e.SetDataSchema("https://example.com/schema")
	}
	for name, v := range map[string]any{"a1": "text", "b2": true, "c3": int32(-5), "d4": []byte{0, 255}, "e5": time.Unix(17, 0).UTC()} {
		if rapid.Bool().Draw(t, "has "+name) {
			e.SetExtension(name, v)
		}
	}
	switch rapid.IntRange(0, 2).Draw(t, "data") {
	case 1:
		e.SetDataContentType("application/json")
		e.DataEncoded = []byte(`{"a": 1}`)
	case 2:
		e.SetDataContentType("application/octet-stream")
		e.DataEncoded, e.DataBase64 = rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "bytes"), true
	}
	return e
}

func TestRecord_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		record, err := event.AppendRecord([]byte("before"), &e)
		require.NoError(t, err)
		require.Equal(t, "before", string(record[:6]))
		back, err := event.FromRecord(record[6:])
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}

func TestClone_SharesNothingThatCanChange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		before, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		c := event.Clone(&e)
		require.Equal(t, e, c)

		c.SetID("other")
		c.SetSource("/other")
		c.SetSubject("other")
		c.SetTime(time.Unix(1, 0))
		c.SetExtension("a1", "other")
		c.SetExtension("new", "other")
		for _, v := range c.Extensions() {
			if b, is := v.([]byte); is {
				b[0]++
			}
		}
		if len(c.DataEncoded) > 0 {
			c.DataEncoded[0]++
		}
		after, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

func TestRecord_CutShortIsAnError(t *testing.T) {
	t.Parallel()
	e, err := event.FromJSON([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"y","time":"2026-01-01T00:00:00Z"}`))
	require.NoError(t, err)
	record, err := event.AppendRecord(nil, &e)
	require.NoError(t, err)
	for n := range len(record) {
		_, err := event.FromRecord(record[:n])
		require.Error(t, err, "%d of %d bytes", n, len(record))
	}
}

func FuzzFromRecord(f *testing.F) {
	e, err := event.FromJSON([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1,"data":{}}`))
	require.NoError(f, err)
	record, err := event.AppendRecord(nil, &e)
	require.NoError(f, err)
	f.Add(record)
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := event.FromRecord(record)
		if err == nil {
			_, err = event.AppendRecord(nil, &e)
			require.NoError(t, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	e, err := event.FromJSON([]byte(`{"specversion":"1.0","id":"0123456789","source":"//selvedge.dev/projects/p/devices/device-17","type":"com.example.climate","time":"2026-03-01T12:00:00.25Z","datacontenttype":"application/json","selvedgeproject":"p","selvedgeroute":"processor","data":{"temperature":21.5,"humidity":40}}`))
	require.NoError(b, err)
	record, err := event.AppendRecord(nil, &e)
	require.NoError(b, err)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			record, err = event.AppendRecord(record[:0], &e)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := event.FromRecord(record); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("clone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = event.Clone(&e)
		}
	})
}
