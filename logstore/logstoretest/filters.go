package logstoretest

import (
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore"
)

// scripts are the scripts of filters; the file itself says what its lines are.
//
//go:embed testdata/filters.test
var scripts embed.FS

// filterCase is a filter, with entries and whether it selects each of them.
type filterCase struct {
	line    int
	filter  string
	entries []logstore.Entry
	selects []bool
}

// filterCases reads the script. The entries are different ones, one a second
// from a time on.
func filterCases(t require.TestingT, from time.Time) []filterCase {
	script, err := scripts.ReadFile("testdata/filters.test")
	require.NoError(t, err)
	var cases []filterCase
	n := 0
	for i, line := range strings.Split(string(script), "\n") {
		switch mark, rest, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case line == "" || strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(line, "  "):
			cases = append(cases, filterCase{line: i + 1, filter: line})
		default:
			require.Contains(t, []string{"+", "-"}, mark, "line %d", i+1)
			e, err := Sketch(rest, from.Add(time.Duration(n)*time.Second))
			require.NoError(t, err, "line %d", i+1)
			n++
			if e.Seq = uint64(n); e.InsertID == unsaid {
				e.InsertID = strings.Repeat("~", n%50+1)
			}
			c := &cases[len(cases)-1]
			c.entries, c.selects = append(c.entries, e), append(c.selects, mark == "+")
		}
	}
	return cases
}

// unsaid is the insert id of a sketch that has none: nobody searches for it.
const unsaid = "~"

// Sketch makes a valid entry of the few fields of a LogEntry in JSON that are
// written. It is of the project "p", the bucket "b" and the log "_", and
// happens at a time unless it says when.
func Sketch(text string, at time.Time) (logstore.Entry, error) {
	e, err := logstore.ParseJSON([]byte(text))
	if err != nil {
		return e, fmt.Errorf("%s: %w", text, err)
	}
	for field, value := range map[*string]string{&e.Project: "p", &e.Bucket: "b", &e.Log: "_", &e.InsertID: unsaid, &e.Origin: "sketch"} {
		if *field == "" {
			*field = value
		}
	}
	for _, t := range []*time.Time{&e.Time, &e.Received} {
		if t.IsZero() {
			*t = at.UTC()
		}
	}
	return e, e.Check()
}

// filters: the script's filters select what it says, and count as many.
func filters(s *suite) {
	store := s.store()
	from := s.noon.Add(-6 * time.Hour)
	cases := filterCases(s.T, from)
	var all []logstore.Entry
	for _, c := range cases {
		all = append(all, c.entries...)
	}
	s.append(store, all...)
	for _, c := range cases {
		f := s.parse(c.filter)
		first, last := c.entries[0].Time, c.entries[len(c.entries)-1].Time
		selection := logstore.Selection{Project: "p", From: first, To: last.Add(1), Filter: f}
		got := s.list(store, logstore.Query{Selection: selection})
		var want []logstore.Entry
		for i, selected := range c.selects {
			if selected {
				want = append(want, c.entries[i])
			}
		}
		require.Equal(s, seqs(want), seqs(got), "line %d: %s", c.line, c.filter)
		groups, err := store.Count(s.Context(), logstore.Counting{Selection: selection})
		require.NoError(s, err)
		n := int64(0)
		for _, g := range groups {
			n += g.Entries
		}
		require.Equal(s, int64(len(want)), n, "count of line %d: %s", c.line, c.filter)
		// The same of all entries, in which more is found.
		selection.From, selection.To = time.Time{}, time.Time{}
		found := map[uint64]bool{}
		for _, e := range s.list(store, logstore.Query{Selection: selection}) {
			found[e.Seq] = true
		}
		for i, e := range c.entries {
			require.Equal(s, c.selects[i], found[e.Seq], "line %d: %s: entry %d", c.line, c.filter, i+1)
		}
	}
}

// seqs are the numbers of entries.
func seqs(entries []logstore.Entry) []uint64 {
	all := make([]uint64, 0, len(entries))
	for i := range entries {
		all = append(all, entries[i].Seq)
	}
	return all
}
