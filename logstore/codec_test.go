package logstore_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/logstoretest"
	"selvedge.dev/sdk/fault"
)

// TestRecord_Golden pins the form of a record, which is in journals.
func TestRecord_Golden(t *testing.T) {
	t.Parallel()
	e := logstore.Entry{
		Project: "p", Bucket: "b", Log: "l", Time: time.Unix(1, 2).UTC(), Received: time.Unix(-1, 0).UTC(), InsertID: "i", Severity: 500,
		ResourceType: "r", ResourceLabels: map[string]string{"b": "2", "a": "1"}, Trace: "t", TraceSampled: true,
		Payload: logstore.Payload{Kind: logstore.Text, Data: []byte("x")}, Origin: "o", Seq: 300,
	}
	const want = "01" + "0170" + "0162" + "016c" + "0202" + "0100" + "0169" + "e807" + "0172" + "02" + "0161" + "0131" + "0162" + "0132" + "00" + "0174" + "00" + "11" + "00" + "0178" + "00" + "00" + "016f" + "ac02"
	require.Equal(t, want, hex.EncodeToString(logstore.AppendRecord(nil, &e)))
	raw, err := hex.DecodeString(want)
	require.NoError(t, err)
	got, err := logstore.ParseRecord(raw)
	require.NoError(t, err)
	require.Equal(t, e, got)
	for n := range raw {
		_, err := logstore.ParseRecord(raw[:n])
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%d bytes", n)
	}
	_, err = logstore.ParseRecord(append(raw, 0))
	require.ErrorContains(t, err, "1 bytes follow")
	for _, bad := range []string{
		strings.Replace(want, "010170", "01810070", 1),                                     // a length in a longer form
		strings.Replace(want, "0161"+"0131"+"0162"+"0132", "0162"+"0132"+"0161"+"0131", 1), // labels not in order
		strings.Replace(want, "0161"+"0131"+"0162"+"0132", "0161"+"0131"+"0161"+"0132", 1), // one label twice
		strings.Replace(want, "0202", "028094ebdc03", 1),                                   // a second of nanoseconds
		strings.Replace(want, "00"+"11"+"00", "00"+"15"+"00", 1),                           // no such payload
		"02" + want[2:],
	} {
		require.NotEqual(t, want, bad)
		record, err := hex.DecodeString(bad)
		require.NoError(t, err)
		_, err = logstore.ParseRecord(record)
		require.Equal(t, fault.Invalid, fault.KindOf(err), bad)
	}
	copied := slices.Clone(raw)
	got, err = logstore.ParseRecord(copied)
	require.NoError(t, err)
	clear(copied)
	require.Equal(t, e, got, "the entry is not its own")
}

// TestRecord_RoundTrip shows that any entry comes back, and has one record.
func TestRecord_RoundTrip(t *testing.T) {
	t.Parallel()
	var seq uint64
	rapid.Check(t, func(t *rapid.T) {
		for _, e := range logstoretest.Entries(t, "p", 3, &seq) {
			record := logstore.AppendRecord([]byte("before"), &e)[6:]
			got, err := logstore.ParseRecord(record)
			require.NoError(t, err)
			require.NoError(t, got.Check())
			require.Equal(t, record, logstore.AppendRecord(nil, &got))
			require.Equal(t, e.Size(), got.Size())
			require.Equal(t, e.Position(), got.Position())
		}
	})
}

// FuzzParseRecord: whatever is read is written as it was, and nothing panics
// or takes memory that is not there.
func FuzzParseRecord(f *testing.F) {
	for _, e := range entries() {
		f.Add(logstore.AppendRecord(nil, &e))
	}
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := logstore.ParseRecord(record)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.Equal(t, record, logstore.AppendRecord(nil, &e))
	})
}

// FuzzParseJSON: what is read and valid is written so that it is read as the
// same.
func FuzzParseJSON(f *testing.F) {
	for _, e := range entries() {
		f.Add(logstore.AppendJSON(nil, &e))
	}
	f.Add([]byte(`{"logName":"projects/p/logs/a%2Fb","severity":300,"protoPayload":{"@type":"x/y","a":1},"split":{"index":1},"errorGroups":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := logstore.ParseJSON(data)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		e.Bucket = "b"
		if e.Check() != nil {
			return
		}
		again, err := logstore.ParseJSON(logstore.AppendJSON(nil, &e))
		require.NoError(t, err)
		again.Bucket = "b"
		require.Equal(t, logstore.AppendRecord(nil, &e), logstore.AppendRecord(nil, &again))
	})
}

// TestFold_Find shows that a text is found where it is in the folded text, by
// every way of asking.
func TestFold_Find(t *testing.T) {
	t.Parallel()
	letters := rapid.SampledFrom([]string{"a", "A", "b", "B", "é", "É", "ß", "ẞ", "K", "k", "İ", "i", "ſ", "s", "Σ", "ς", "σ", " ", "_", "1", "😀", "\n", "%"})
	texts := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(letters, 0, 12).Draw(t, "letters"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		text, needle := texts.Draw(t, "text"), texts.Draw(t, "needle")
		if rapid.Bool().Draw(t, "part") {
			needle = text[:len(text)/2]
			for !utf8.ValidString(needle) {
				needle = needle[1:]
			}
		}
		e := logstore.Entry{Payload: logstore.Payload{Kind: logstore.Text, Data: []byte(text)}}
		in := strings.Contains(logstore.Fold(text), logstore.Fold(needle))
		quoted := quote(needle)
		require.Equal(t, in, logstore.Match(&e, parse(t, "textPayload:"+quoted)))
		require.Equal(t, in, logstore.Match(&e, parse(t, quoted)))
		require.Equal(t, strings.Compare(logstore.Fold(text), logstore.Fold(needle)) < 0, logstore.Match(&e, parse(t, "textPayload<"+quoted)))
		require.Equal(t, logstore.Fold(text) == logstore.Fold(needle), logstore.Match(&e, parse(t, "textPayload="+quoted)))
		require.Equal(t, logstore.Fold(text), logstore.Fold(logstore.Fold(text)))
		if in {
			for _, n := range logstore.Needles(needle) {
				require.Contains(t, asciiLower(text), n)
			}
		}
	})
}

// quote writes a text as a filter has it.
func quote(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(text) + `"`
}

// asciiLower lowers ASCII alone, as simple tools do.
func asciiLower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// TestFoldRune shows that ASCII folds only to ASCII, and all to what folds to
// itself.
func TestFoldRune(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= utf8.MaxRune; r++ {
		f := logstore.FoldRune(r)
		if r < utf8.RuneSelf != (f < utf8.RuneSelf) || logstore.FoldRune(f) != f {
			require.Fail(t, "fold", "%U folds to %U, and that to %U", r, f, logstore.FoldRune(f))
		}
	}
}

// TestCounter_Bound shows that groups without number are refused.
func TestCounter_Bound(t *testing.T) {
	t.Parallel()
	c, err := logstore.NewCounter(logstore.Counting{Selection: logstore.Selection{Project: "p"}, By: [][]string{{"insertId"}}, Limit: 2})
	require.NoError(t, err)
	var last error
	for i := 0; last == nil && i <= 200_000; i++ {
		last = c.AddGroup(logstore.Group{Values: []string{string(rune('a' + i/1000)), string(rune('a' + i%1000))}, Entries: int64(i)})
	}
	require.Equal(t, fault.Exhausted, fault.KindOf(last))
	require.Equal(t, "TOO_MANY_GROUPS", fault.ReasonOf(last))
	groups := c.Groups()
	require.Len(t, groups, 2)
	require.Equal(t, int64(199_999), groups[0].Entries)
}

// BenchmarkRecord writes and reads records.
func BenchmarkRecord(b *testing.B) {
	e := entries()[1]
	record := logstore.AppendRecord(nil, &e)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(record)))
		var to []byte
		for b.Loop() {
			to = logstore.AppendRecord(to[:0], &e)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(record)))
		for b.Loop() {
			if _, err := logstore.ParseRecord(record); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := e.Check(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
