package logstoretest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/memory"
)

// model: whatever entries there are and whatever is asked, the store answers
// as the store in memory does.
func model(s *suite) {
	store := s.store()
	n, seq := 0, uint64(0)
	rapid.Check(s.T, func(t *rapid.T) {
		n++
		project := fmt.Sprint("model", n) // one store is enough for all
		oracle := memory.New()
		var before []logstore.Entry
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			entries := Entries(t, project, 12, &seq)
			if rapid.Bool().Draw(t, "again") {
				entries = append(entries, before...)
			}
			before = entries
			for i := range entries {
				require.NoError(t, entries[i].Check())
			}
			require.NoError(t, oracle.Append(s.Context(), entries))
			require.NoError(t, store.Append(s.Context(), entries))
		}
		for range 8 {
			selection := selections(t, project)
			d := duel{T: t, store: store, oracle: oracle}
			d.lists(selection)
			d.counts(selection)
		}
	})
}

// selections draws a selection.
func selections(t *rapid.T, project string) logstore.Selection {
	selection := logstore.Selection{
		Project: project,
		Buckets: rapid.SampledFrom([][]string{nil, nil, nil, {"b"}, {"b", "c"}, {"x"}}).Draw(t, "buckets"),
	}
	if rapid.IntRange(0, 9).Draw(t, "filtered") > 0 {
		selection.Filter = Filters(t)
	}
	bounds := []time.Time{{}, {}, Noon(), Noon().Add(1), Noon().Add(time.Second), Noon().Add(time.Minute)}
	selection.From = rapid.SampledFrom(bounds).Draw(t, "from")
	selection.To = rapid.SampledFrom(bounds).Draw(t, "to")
	return selection
}

// duel asks two stores the same.
type duel struct {
	*rapid.T
	store, oracle logstore.Store
}

// lists compares all pages of a query.
func (d *duel) lists(selection logstore.Selection) {
	q := logstore.Query{
		Selection: selection, Descending: rapid.Bool().Draw(d.T, "descending"),
		Limit: rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(d.T, "limit"),
	}
	for {
		want, err := d.oracle.List(d.Context(), q)
		require.NoError(d, err)
		got, err := d.store.List(d.Context(), q)
		require.NoError(d, err)
		d.describe(q.Selection)
		same(d, want, got)
		if len(want) < q.Limit {
			return
		}
		q.After = want[len(want)-1].Position()
	}
}

// describe logs what is asked, for the case that the answer is wrong.
func (d *duel) describe(selection logstore.Selection) {
	d.Logf("%+v", selection)
	if selection.Filter != nil {
		d.Logf("filter: %s", selection.Filter)
	}
}

// counts compares a count.
func (d *duel) counts(selection logstore.Selection) {
	fields := [][]string{{"severity"}, {"labels", "a"}, {"jsonPayload", "a"}, {"resource", "type"}, {"logName"}, {"httpRequest", "status"}, {"textPayload"}}
	c := logstore.Counting{
		Selection: selection, Interval: rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(d.T, "interval"),
		Limit: rapid.SampledFrom([]int{0, 1, 3}).Draw(d.T, "groups"),
	}
	for _, path := range fields {
		if len(c.By) < 3 && rapid.IntRange(0, 4).Draw(d.T, "by") == 0 {
			c.By = append(c.By, path)
		}
	}
	want, err := d.oracle.Count(d.Context(), c)
	require.NoError(d, err)
	got, err := d.store.Count(d.Context(), c)
	require.NoError(d, err)
	d.describe(c.Selection)
	require.Len(d, got, len(want), "by %v each %s", c.By, c.Interval)
	for i := range want {
		require.Equal(d, groupText(want[i]), groupText(got[i]), "by %v each %s", c.By, c.Interval)
	}
}

// groupText is a group in a form that can be compared.
func groupText(g logstore.Group) string {
	return fmt.Sprintf("%s %q %d", g.Start.UTC(), g.Values, g.Entries)
}
