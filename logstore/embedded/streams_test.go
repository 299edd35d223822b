package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/fault"
)

// of makes an entry of a text with labels of the resource.
func of(id, text string, labels map[string]string) logstore.Entry {
	e := withJSON("{}")
	e.InsertID, e.ResourceType, e.ResourceLabels = id, "device", labels
	e.Payload = logstore.Payload{Kind: logstore.Text, Data: []byte(text)}
	return e
}

// selected gives the insert ids of what a filter selects, as List and as Count
// say it.
func selected(t *testing.T, s *Store, text string) (ids []string) {
	t.Helper()
	f, err := filter.Parse(text)
	require.NoError(t, err, text)
	sel := logstore.Selection{Project: "p", Filter: f}
	page, err := s.List(t.Context(), logstore.Query{Selection: sel, Limit: 100})
	require.NoError(t, err, text)
	for i := range page {
		ids = append(ids, page[i].InsertID)
	}
	groups, err := s.Count(t.Context(), logstore.Counting{Selection: sel})
	require.NoError(t, err, text)
	if len(ids) == 0 {
		require.Empty(t, groups, text)
		return ids
	}
	require.Equal(t, []int64{int64(len(ids))}, []int64{groups[0].Entries}, text)
	return ids
}

// opened is a store in a directory of the test.
func opened(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{MinFreeBytes: 1, Once: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// A stream that is new is found at once, though the engine remembers for a
// second which streams a filter has found.
func TestStreams_NewOnesAreFoundAtOnce(t *testing.T) {
	t.Parallel()
	s := opened(t)
	var want []string
	for i := range 20 {
		e := of(fmt.Sprintf("%02d", i), "x", map[string]string{"site": "North", "n": fmt.Sprint(i)})
		e.Time = e.Time.AddDate(0, 0, i%3-3*(i%2))
		want = append(want, e.InsertID)
		before := s.streams.filter()
		require.NoError(t, s.Append(t.Context(), []logstore.Entry{e}))
		require.NotEqual(t, before, s.streams.filter(), "the engine need not look it up")
		require.ElementsMatch(t, want, selected(t, s, `resource.labels.site="north"`))
		require.Equal(t, []string{e.InsertID}, selected(t, s, fmt.Sprintf(`resource.labels.site="NORTH" resource.labels.n="%d"`, i)))
	}
	require.NoError(t, s.Delete(t.Context(), logstore.Deletion{Project: "p", Bucket: "b", Before: logstore.Day(time.Now().AddDate(10, 0, 0))}))
	require.Empty(t, selected(t, s, ""))
	for i := range 3 {
		e := of(fmt.Sprintf("%02d", i), "x", map[string]string{"site": "North", "n": fmt.Sprint(i)})
		require.NoError(t, s.Append(t.Context(), []logstore.Entry{e}))
		require.Len(t, selected(t, s, `resource.labels.site="north"`), i+1)
	}
}

// Of very many label sets only the first are streams, and all are found.
func TestStreams_AreBounded(t *testing.T) {
	t.Parallel()
	s := opened(t)
	var entries []logstore.Entry
	for i := range maxKeyed + 100 {
		entries = append(entries, of(fmt.Sprint(i), "x", map[string]string{"n": fmt.Sprint(i)}))
	}
	require.NoError(t, s.Append(t.Context(), entries))
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{of("again", "x", map[string]string{"n": "7"}), of("new", "x", map[string]string{"n": "new"})}))
	for key, n := range s.streams.keyed {
		require.Equal(t, maxKeyed, n, key)
	}
	require.Len(t, s.streams.known, maxKeyed+1)
	before := s.streams.filter()
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{of("known", "x", map[string]string{"n": "8"})}))
	require.Equal(t, before, s.streams.filter(), "nothing is new")
	for text, want := range map[string][]string{
		`resource.labels.n="3"`: {"3"}, `resource.labels.n="7"`: {"7", "again"}, fmt.Sprintf(`resource.labels.n="%d"`, maxKeyed+50): {fmt.Sprint(maxKeyed + 50)},
		`resource.labels.n="new" OR resource.labels.n="4"`: {"4", "new"}, `resource.labels.n="new" resource.labels.n="4"`: nil,
	} {
		require.ElementsMatch(t, want, selected(t, s, text), text)
	}
	long := map[string]string{"n": fmt.Sprintf("%02000d", 7)}
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{of("long", "x", long), of("odd", "x", map[string]string{"a=b": "c", "d}": "e"})}))
	require.Equal(t, []string{"long"}, selected(t, s, `resource.labels.n="`+long["n"]+`"`))
	require.Equal(t, []string{"odd"}, selected(t, s, `resource.labels."a=b"="C" resource.labels."d}":*`))
}

// What is a word beside letters that are not of ASCII is as logstore.Match has
// it, whether the engine is asked for entries or for their number.
func TestWords_AreThoseOfMatch(t *testing.T) {
	t.Parallel()
	s := opened(t)
	texts := []string{
		"device ok", "Device", "my_device", "MY_DEVICE x", "device—gone", "é device", "devices", "xdevice", "a device-7 b", "DEVICE_é", "—device", "dev ice", "", "a.Device.b",
		"deviceé", "the\u212Aelvin device", "d\u00e9vice", "Übergröße device", "device\x00x",
	}
	var entries []logstore.Entry
	for i, text := range texts {
		entries = append(entries, of(fmt.Sprint(i), text, map[string]string{"site": []string{"north", "Nörd"}[i%2]}))
	}
	odd := of("odd", "", nil)
	odd.Payload = logstore.Payload{Kind: logstore.JSON, Data: []byte(`{"a":"\u0064evice"}`)}
	entries = append(entries, odd)
	require.NoError(t, s.Append(t.Context(), entries))
	for _, text := range []string{
		`SEARCH(textPayload, "device")`, `SEARCH(textPayload, "my device")`, `SEARCH(textPayload, "DEVICE ok")`, "SEARCH(textPayload, \"`device ok`\")", `SEARCH(textPayload, "é")`, `SEARCH("device")`,
		`textPayload:"device"`, `textPayload:"my_device"`, `textPayload:"E"`, `textPayload:"a dev"`, `textPayload:"e-7 "`, `textPayload:"."`, `textPayload:"É"`, `textPayload:"k"`, `textPayload:*`,
		`resource.labels.site="NORTH"`, `resource.labels.site="nörd"`, `resource.labels.site:"n"`, `textPayload="DEVICE"`, `textPayload<"device"`, `textPayload=~"ice$"`,
	} {
		for _, text := range []string{text, "NOT " + text, text + ` resource.type="Device"`, "NOT (" + text + ` OR resource.labels.site="north")`, text + ` AND NOT resource.labels.site="north"`} {
			f, err := filter.Parse(text)
			require.NoError(t, err)
			var want []string
			for i := range entries {
				if logstore.Match(&entries[i], f) {
					want = append(want, entries[i].InsertID)
				}
			}
			require.ElementsMatch(t, want, selected(t, s, text), text)
		}
	}
}

// Rows of an earlier form are an error, not nothing.
func TestOpen_OldFormat(t *testing.T) {
	t.Parallel()
	s := opened(t)
	require.NoError(t, s.Close())
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, oldDir), 0o755))
	_, err := Open(s.dir, Options{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "OLD_FORMAT", fault.ReasonOf(err))
}
