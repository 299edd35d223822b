package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/store/storetest"
)

// Scans go along an index in the order that is asked for: none sorts all, none
// looks at all objects to find some. Nothing is few here, as among a million.
func TestDriver_Plans(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{Few: 1})
	storetest.Fill(t, d, 100)
	const (
		byTerm   = "SEARCH d USING PRIMARY KEY (term=?)"
		byTermAt = "SEARCH d USING PRIMARY KEY (term=? AND name>?)"
		bySpan   = "SEARCH d USING PRIMARY KEY (term>? AND term<?)"
		object   = "SEARCH o USING INDEX object_name (kind=? AND name=?)"
		has      = "CORRELATED SCALAR SUBQUERY 1"
		hasTerm  = "SEARCH x USING PRIMARY KEY (term=? AND name=?)"
		lastOnly = "USE TEMP B-TREE FOR LAST TERM OF ORDER BY"
	)
	label := func(key, value string) filter.Condition {
		return filter.Condition{Index: "metadata.labels", Key: key, Op: filter.In, Values: [][]byte{[]byte(value)}}
	}
	f := func(q store.Scan, want ...string) {
		t.Helper()
		q.Type, q.Limit = storetest.Thing, 10
		plan, err := d.Explain(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, strings.Join(want, "\n"), strings.Join(plan, "\n"))
	}
	at := &store.Position{Name: "projects/p"}
	newest := []store.OrderKey{{Index: "metadata.create_time", Desc: true}}
	oldest := []store.OrderKey{{Index: "metadata.create_time"}}
	site := []filter.Condition{label("site", "site1")}
	after := filter.Condition{Index: "metadata.create_time", Op: filter.Range, From: []byte{1}}

	f(store.Scan{}, "SEARCH o USING INDEX object_name (kind=?)")
	f(store.Scan{From: "projects/p5/", To: "projects/p50"}, "SEARCH o USING INDEX object_name (kind=? AND name>? AND name<?)")
	f(store.Scan{From: "projects/", To: "projects0", After: at, Reverse: true}, "SEARCH o USING INDEX object_name (kind=? AND name>? AND name<?)")
	f(store.Scan{Where: site}, byTerm, object)
	f(store.Scan{Where: site, After: at}, byTermAt, object)
	f(store.Scan{Where: append(site, label("env", "env1"))}, byTerm, has, hasTerm, object)
	f(store.Scan{Where: append(site, after)}, byTerm, object)
	f(store.Scan{Where: []filter.Condition{after}, Order: oldest}, bySpan, object)
	f(store.Scan{Order: oldest}, bySpan, object)
	f(store.Scan{Order: newest, Reverse: true}, bySpan, object, lastOnly)
	f(store.Scan{Order: newest}, bySpan, object, lastOnly)
	f(store.Scan{Order: newest, Where: site}, bySpan, has, hasTerm, object, lastOnly)
	f(store.Scan{Order: oldest, After: &store.Position{Values: [][]byte{{1}}, Name: "a"}}, bySpan, object)
}
