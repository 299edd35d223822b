package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
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
	for of, n := range s.streams.taken {
		require.Equal(t, map[sort]int{bare: 1, keyed: maxKeyed}[of.sort], n, of)
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

// Promoted labels are tags, as long as they have few values and streams: one of
// very many values is left out, and all are found whatever becomes of them.
// SPEC A5
func TestStreams_PromotedAreBounded(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{MinFreeBytes: 1, Once: true, Promoted: func(e *logstore.Entry) []string {
		return map[string][]string{"l": {"line", "order", "a=b"}, "many": {"x", "y", "z"}}[e.Log]
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	at := func(log string, i int, labels map[string]string) logstore.Entry {
		e := of(fmt.Sprint(log, i), "x", map[string]string{"n": fmt.Sprint(i % 5)})
		e.Log, e.Labels = log, labels
		return e
	}
	lists := func() map[string]int {
		t.Helper()
		s.show()
		values := map[string]int{}
		err := s.search(t.Context(), s.tenants.all(), "* | stats by ("+columnPromoted+") count() n", everSpan, func(_ uint, b *logstorage.DataBlock) error {
			columns := b.GetColumns(false)
			for i, v := range columns[0].Values {
				values[v] = int(number(columns[1].Values[i]))
			}
			return nil
		})
		require.NoError(t, err)
		return values
	}
	orders, many := []logstore.Entry{}, []logstore.Entry{}
	for i := range maxValues + 50 {
		orders = append(orders, at("l", i, map[string]string{"line": fmt.Sprint(i % 2), "order": fmt.Sprint(i), "a=b": "c"}))
	}
	for i := range 3 * maxKeyed {
		many = append(many, at("many", i, map[string]string{"x": fmt.Sprint(i % 15), "y": fmt.Sprint(i / 15 % 15), "z": fmt.Sprint(i / 225)}))
	}
	require.NoError(t, s.Append(t.Context(), orders))
	require.Equal(t, map[string]int{"\x1fline\x1forder\x1f": maxValues, "": 50}, lists(), "until there are too many")
	require.NoError(t, s.Append(t.Context(), []logstore.Entry{at("l", 1000, map[string]string{"line": "1", "order": "3"}), at("l", 1001, map[string]string{"order": "new"})}))
	require.Equal(t, 2, lists()["\x1fline\x1f"], "and without it from then on")
	require.NoError(t, s.Append(t.Context(), many))
	for of, n := range s.streams.taken {
		require.LessOrEqual(t, n, maxKeyed, of)
	}
	require.Equal(t, 2*maxKeyed-maxValues-2, lists()["\x1fx\x1fy\x1fz\x1f"], "as many as there is room for")
	for text, want := range map[string]int{
		`labels.order="7"`: 1, `labels.order="290" labels.line="0"`: 1, `labels.order="3"`: 2, `labels.line="1" labels.order:*`: maxValues/2 + 26, `labels."a=b"="C"`: maxValues + 50,
		`log_id("l") NOT labels.line="1"`: maxValues/2 + 26, `labels.order="new" OR labels.x="0"`: 201, `labels.x="14" labels.y="14" labels.z="0"`: 1, `labels.x="14" labels.y="14"`: 13,
	} {
		require.Equal(t, want, counted(t, s, text), text)
	}
	f, err := filter.Parse(`labels.line="1" labels.order="3"`)
	require.NoError(t, err)
	require.Contains(t, s.within(compile(f), everything, ""), `"l.line"=~"1"`)
}

// counted is how many entries a filter selects, as Count says it, and List too.
func counted(t *testing.T, s *Store, text string) int {
	t.Helper()
	f, err := filter.Parse(text)
	require.NoError(t, err, text)
	sel := logstore.Selection{Project: "p", Filter: f}
	page, err := s.List(t.Context(), logstore.Query{Selection: sel, Limit: logstore.MaxLimit})
	require.NoError(t, err, text)
	groups, err := s.Count(t.Context(), logstore.Counting{Selection: sel})
	require.NoError(t, err, text)
	require.Len(t, groups, 1, text)
	require.Equal(t, int64(len(page)), groups[0].Entries, text)
	return len(page)
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
