package event_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
)

// requireHead is what a head must say of the event that it decodes to.
func requireHead(t require.TestingT, h *event.Head, e *event.Event) {
	require.Equal(t, e.ID(), string(h.ID()))
	require.Equal(t, e.Source(), string(h.Source()))
	require.Equal(t, e.Type(), string(h.Type()))
	require.Equal(t, e.Subject(), string(h.Subject()))
	require.Equal(t, e.DataContentType(), string(h.DataContentType()))
	require.Equal(t, e.DataSchema(), string(h.DataSchema()))
	require.Equal(t, e.Time(), h.Time())
	require.Equal(t, string(e.Data()), string(h.Data()))
	for _, name := range []string{"a1", "b2", "c3", "d4", "e5", "absent"} {
		want, there := event.Value(e, name)
		v, ok := h.Value(name)
		require.Equal(t, there, ok, name)
		require.Equal(t, want, v, name)
		text, plain, ok := h.Extension(name)
		require.Equal(t, there, ok, name)
		require.Equal(t, event.Extension(e, name), string(text), name)
		_, isText := want.(string)
		require.Equal(t, isText, plain && ok, name)
	}
}

// A head says what the whole event does, also in a copy of its record.
func TestHead_IsTheEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		record, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		h, err := event.ReadHead(record)
		require.NoError(t, err)
		requireHead(t, &h, &e)
		back, err := h.Event(3)
		require.NoError(t, err)
		event.Set(&back, "room", "r")
		event.Set(&back, "room", nil)
		require.Equal(t, e, back)

		moved := h.Moved(bytes.Clone(record))
		clear(record)
		requireHead(t, &moved, &e)
	})
}

// Attributes that are too long to be made at once are there all the same.
func TestHead_LongAttributes(t *testing.T) {
	t.Parallel()
	e := event.New()
	e.SetID(strings.Repeat("i", 300))
	e.SetSource("/s")
	e.SetType(strings.Repeat("t", 30_000))
	e.SetExtension("a1", strings.Repeat("x", 200))
	record, err := event.AppendRecord(nil, &e)
	require.NoError(t, err)
	h, err := event.ReadHead(record)
	require.NoError(t, err)
	requireHead(t, &h, &e)
	back, err := h.Event(0)
	require.NoError(t, err)
	require.Equal(t, e, back)
}

// Simple are the values whose text is what Go prints.
func TestHead_Simple(t *testing.T) {
	t.Parallel()
	e := event.New()
	for name, v := range map[string]any{"a1": "text", "b2": true, "c3": int32(-5), "d4": []byte{0, 255}} {
		e.SetExtension(name, v)
	}
	record, err := event.AppendRecord(nil, &e)
	require.NoError(t, err)
	h, err := event.ReadHead(record)
	require.NoError(t, err)
	for name, simple := range map[string]bool{"a1": true, "b2": true, "c3": true, "d4": false} {
		require.Equal(t, simple, h.Simple(name), name)
	}
}

func TestSet_IsSetExtension(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		name := rapid.SampledFrom([]string{event.Project, "a1", "b2"}).Draw(t, "name")
		v := rapid.SampledFrom([]any{nil, "text", true, int32(7)}).Draw(t, "value")
		want := e.Clone()
		want.SetExtension(name, v)
		event.Set(&e, name, v)
		require.Equal(t, want.Extensions(), e.Extensions())
	})
}

// FuzzHead: no record panics, and a head says what the event does.
func FuzzHead(f *testing.F) {
	e, err := event.FromJSON([]byte(`{"specversion":"1.0","id":"1","source":"//h/p","type":"t","subject":"s","time":"2026-01-01T00:00:00Z","a1":"x","c3":1,"data":{}}`))
	require.NoError(f, err)
	record, err := event.AppendRecord(nil, &e)
	require.NoError(f, err)
	f.Add(record)
	f.Add(record[:len(record)-4])
	f.Fuzz(func(t *testing.T, record []byte) {
		h, err := event.ReadHead(record)
		if err != nil {
			_, err = event.FromRecord(record)
			require.Error(t, err)
			return
		}
		h.Extension("a1")
		h.Simple("c3")
		e, err := h.Event(1)
		if err != nil {
			return
		}
		require.Equal(t, e.ID(), string(h.ID()))
		require.Equal(t, e.Type(), string(h.Type()))
		require.Equal(t, e.Subject(), string(h.Subject()))
	})
}

// FuzzSource: whatever a source is, it is read as the URL that it is, and its
// text is that of the URL.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"//selvedge.dev/projects/p/devices/d", "///x", "//h", "//h/", "//h//p", "//h/a b", "//h/%41", "/s", "//u@h/p", "//h:1/p", "//h/p?q#f", "//a_b~c/-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := url.Parse(s)
		if err != nil || s == "" {
			return
		}
		e := event.New()
		e.SetID("1")
		e.SetType("t")
		e.SetSource(s)
		require.Equal(t, e.Source(), event.SourceOf(&e))
		require.Equal(t, "x"+e.Source(), string(event.AppendSource([]byte("x"), &e)))
		record, err := event.AppendRecord(nil, &e)
		require.NoError(t, err)
		h, err := event.ReadHead(record)
		require.NoError(t, err)
		require.Equal(t, want.String(), string(h.Source()))
		again, err := url.Parse(want.String())
		if err != nil {
			return
		}
		back, err := event.FromRecord(record)
		require.NoError(t, err)
		require.Equal(t, again.String(), back.Source())
		if s == want.String() && strings.HasPrefix(s, "//") {
			attributes := `{"specversion":"1.0","id":"1","type":"t","source":"` + s + `"}`
			if read, err := event.FromJSON([]byte(attributes)); err == nil {
				require.Equal(t, want.String(), read.Source())
			}
		}
	})
}
