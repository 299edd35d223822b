package postgres_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/storetest"
)

// Scans go along an index in the order that is asked for: none sorts all, none
// looks at all objects to find some. Nothing is few here, as among a million.
func TestDriver_Plans(t *testing.T) {
	t.Parallel()
	d := fresh(t, postgres.Options{Few: 1})
	storetest.Fill(t, d, 2000)
	label := func(key, value string) filter.Condition {
		return filter.Condition{Index: "metadata.labels", Key: key, Op: filter.In, Values: [][]byte{[]byte(value)}}
	}
	const (
		forwards  = "Index Only Scan using entry_pkey on entry d"
		backwards = "Index Only Scan Backward using entry_pkey on entry d"
		object    = "Index Scan using object_pkey on object"
		has       = "Index Only Scan using entry_pkey on entry x"
		byGroups  = "Incremental Sort"
	)
	f := func(q store.Scan, want ...string) {
		t.Helper()
		q.Type, q.Limit = storetest.Thing, 10
		plan, err := d.Explain(t.Context(), q)
		require.NoError(t, err)
		var got []string
		for _, line := range plan {
			if strings.Contains(line, "Scan using") || strings.Contains(line, "Scan Backward using") || strings.Contains(line, "Seq Scan") ||
				strings.HasPrefix(line, "Bitmap") || line == "Sort" || line == byGroups || strings.HasPrefix(line, "Hash") || strings.HasPrefix(line, "Merge") {
				got = append(got, line)
			}
		}
		require.Equal(t, want, got, strings.Join(plan, "\n"))
	}
	at := &store.Position{Name: "projects/p"}
	newest := []store.OrderKey{{Index: "metadata.create_time", Desc: true}}
	oldest := []store.OrderKey{{Index: "metadata.create_time"}}
	site := []filter.Condition{label("site", "site1")}
	after := filter.Condition{Index: "metadata.create_time", Op: filter.Range, From: []byte{1}}
	f(store.Scan{}, object+" o")
	f(store.Scan{From: "projects/p5/", To: "projects/p50"}, object+" o")
	f(store.Scan{From: "projects/", To: "projects0", After: at, Reverse: true}, "Index Scan Backward using object_pkey on object o")
	f(store.Scan{Where: site}, forwards, object)
	f(store.Scan{Where: site, After: at}, forwards, object)
	f(store.Scan{Where: append(site, label("env", "env1"))}, forwards, has, object)
	f(store.Scan{Where: append(site, after)}, forwards, object, "Sort") // of the terms of one object
	f(store.Scan{Where: []filter.Condition{after}, Order: oldest}, forwards, object)
	f(store.Scan{Order: oldest}, forwards, object)
	f(store.Scan{Order: newest, Reverse: true}, byGroups, forwards, object)
	f(store.Scan{Order: newest}, byGroups, backwards, object)
	f(store.Scan{Order: newest, Where: site}, byGroups, backwards, has, object)
	f(store.Scan{Order: oldest, After: &store.Position{Values: [][]byte{{1}}, Name: "a"}}, forwards, object)
}
