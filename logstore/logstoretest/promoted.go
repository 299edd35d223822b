package logstoretest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
	"selvedge.dev/logstore/memory"
)

// OpenPromoted opens the store in a directory, which is empty at first. The suite
// closes it.
type OpenPromoted func(t *testing.T, dir string, promoted logstore.Promoted) logstore.Store

// promotion is what is promoted, by log. It changes.
type promotion struct {
	mu sync.Mutex
	by map[string][]string
}

// keys implements logstore.Promoted.
func (p *promotion) keys(e *logstore.Entry) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by[e.Log]
}

// change draws what is promoted from now on.
func (p *promotion) change(t *rapid.T) {
	by := map[string][]string{}
	for _, log := range []string{"syslog", "selvedge.dev/activity", "Error"} {
		by[log] = rapid.SliceOfN(rapid.SampledFrom(keys), 0, 4).Draw(t, "promoted in "+log)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by = by
}

// RunPromoted is for stores that are told which labels are promoted: whatever is,
// however it changes while entries come, some of them twice, and over restarts, the
// answers are those of the store in memory, which knows nothing of it.
func RunPromoted(t *testing.T, open OpenPromoted) {
	t.Helper()
	dir, promoted := t.TempDir(), &promotion{}
	store := open(t, dir, promoted.keys)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	n, seq := 0, uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		n++
		project := fmt.Sprint("promoted", n) // one store is enough for all
		oracle := memory.New()
		var before []logstore.Entry
		for range rapid.IntRange(1, 4).Draw(rt, "batches") {
			promoted.change(rt)
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				require.NoError(rt, store.Close())
				store = open(t, dir, promoted.keys)
			}
			entries := Entries(rt, project, 12, &seq)
			for i := range entries {
				entries[i].Labels = fewLabels(rt, entries[i].Labels)
			}
			if rapid.Bool().Draw(rt, "again") {
				entries = append(entries, before...)
			}
			before = entries
			require.NoError(rt, oracle.Append(t.Context(), entries))
			require.NoError(rt, store.Append(t.Context(), entries))
		}
		for range 8 {
			selection := selections(rt, project)
			selection.Filter = labelFilter(rt)
			d := duel{T: rt, store: store, oracle: oracle}
			d.lists(selection)
			d.counts(selection)
		}
	})
}

// labelValues are few, so that questions for several labels find something.
var labelValues = []string{"error", "Error", "200", "é", "a-b x", "line\nbreak"}

// fewLabels draws labels in the place of others, mostly.
func fewLabels(t *rapid.T, others map[string]string) map[string]string {
	if rapid.IntRange(0, 4).Draw(t, "others") == 0 {
		return others
	}
	m := map[string]string{}
	for range rapid.IntRange(0, 4).Draw(t, "labels") {
		m[rapid.SampledFrom(keys).Draw(t, "key")] = rapid.SampledFrom(labelValues).Draw(t, "value")
	}
	return m
}

// labelFilter draws a question for some labels at once, some of them one or none of
// several, beside another.
func labelFilter(t *rapid.T) filter.Expr {
	quoted := func(s string) string {
		return (&filter.Text{Value: filter.Value{Text: s, Quoted: true}}).String()
	}
	var terms []string
	for range rapid.IntRange(1, 3).Draw(t, "terms") {
		var either []string
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "either") {
			either = append(either, "labels."+quoted(rapid.SampledFrom(keys).Draw(t, "key"))+"="+quoted(rapid.SampledFrom(labelValues).Draw(t, "value")))
		}
		not := rapid.SampledFrom([]string{"", "", "", "NOT "}).Draw(t, "not")
		terms = append(terms, not+"("+strings.Join(either, " OR ")+")")
	}
	if rapid.IntRange(0, 2).Draw(t, "other") == 0 {
		terms = append(terms, "("+filterText(t, 1)+")")
	}
	if rapid.IntRange(0, 2).Draw(t, "log") == 0 {
		terms = append(terms, `log_id("syslog")`)
	}
	f, err := filter.Parse(strings.Join(terms, " AND "))
	if err != nil {
		t.Fatalf("BUG: the filter cannot be parsed: %v", err)
	}
	return f
}
