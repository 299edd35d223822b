// Package eventstoretest says by example what a record store must do. [Run] is
// the conformance suite of eventstore.Store, for the tests of its
// implementations.
package eventstoretest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// Open opens an empty store that keeps at most maxEvents events of a project;
// 0 is its default. The suite closes it.
type Open func(t *testing.T, maxEvents int) eventstore.Store

// noon is when the events of the suite happen, give or take.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Run runs the suite over stores that open makes.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"Order": order, "RoundTrip": roundTrip, "Filters": filters, "Times": times, "Pages": pages, "StablePages": stablePages,
		"PageTokens": pageTokens, "PageSizes": pageSizes, "Duplicates": duplicates, "Projects": projects, "Invalid": invalid,
		"Eviction": eviction, "Model": model, "Concurrency": concurrency,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(&suite{T: t, open: open})
		})
	}
}

// suite is one test with what it may open.
type suite struct {
	*testing.T
	open Open
}

// store opens a store.
func (s *suite) store(maxEvents int) eventstore.Store {
	s.Helper()
	store := s.open(s.T, maxEvents)
	s.Cleanup(func() { require.NoError(s, store.Close()) })
	return store
}

// at makes an event of type "t" and source "s" that many seconds after noon.
func at(id string, seconds int) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("s")
	e.SetType("t")
	e.SetTime(noon.Add(time.Duration(seconds) * time.Second))
	return e
}

// append appends events to the project "p".
func (s *suite) append(store eventstore.Store, events ...event.Event) eventstore.Appended {
	s.Helper()
	records := make([]eventstore.Record, len(events))
	for i, e := range events {
		records[i] = eventstore.Record{Project: "p", Event: e}
	}
	done, err := store.Append(s.Context(), records)
	require.NoError(s, err)
	return done
}

// list returns the ids of a page, and the token of the next.
func (s *suite) list(store eventstore.Store, q eventstore.Query) ([]string, string) {
	s.Helper()
	if q.Project == "" {
		q.Project = "p"
	}
	page, err := store.List(s.Context(), q)
	require.NoError(s, err)
	var ids []string
	for _, e := range page.Events {
		ids = append(ids, e.ID())
	}
	return ids, page.NextPageToken
}

// all follows pages to their end.
func (s *suite) all(store eventstore.Store, q eventstore.Query) []string {
	s.Helper()
	var all []string
	for {
		ids, token := s.list(store, q)
		all = append(all, ids...)
		if token == "" {
			return all
		}
		require.NotEmpty(s, ids, "a page that is not the last is empty")
		q.PageToken = token
	}
}

// order: the newest event comes first, and of one time the last that was appended.
func order(s *suite) {
	store := s.store(0)
	require.Empty(s, s.all(store, eventstore.Query{}))
	require.Equal(s, eventstore.Appended{}, s.append(store))
	require.Equal(s, eventstore.Appended{Stored: 3}, s.append(store, at("b", 2), at("a", 1), at("d", 4)))
	require.Equal(s, eventstore.Appended{Stored: 1}, s.append(store, at("c", 3)))
	require.Equal(s, []string{"d", "c", "b", "a"}, s.all(store, eventstore.Query{}))
	// Of one time the last that was appended comes first.
	s.append(store, at("c1", 3), at("c2", 3))
	s.append(store, at("c3", 3))
	require.Equal(s, []string{"d", "c3", "c2", "c1", "c", "b", "a"}, s.all(store, eventstore.Query{}))
}

// roundTrip: every attribute and all data comes back as it was, and can be shown as JSON.
func roundTrip(s *suite) {
	store := s.store(0)
	full := at("full", 0)
	full.SetTime(time.Date(2026, 6, 1, 12, 0, 0, 123456789, time.UTC))
	full.SetSource("https://example.com/a?b=c#d")
	full.SetSubject("projects/p/devices/é")
	full.SetDataSchema("https://example.com/schema")
	full.SetExtension("selvedgeproject", "p")
	full.SetExtension("flag", true)
	full.SetExtension("number", -7)
	require.NoError(s, full.SetData("application/json", map[string]any{"a": []int{1, 2}}))
	events := []event.Event{full}
	for i, c := range []struct{ media, data string }{
		{"application/json", ` { "a" : 1.0 } `},
		{"application/json", `{"a":`},
		{"application/json", `{a:1}`},
		{"application/json", "\"\xff\""},
		{"", `{"a":1}`},
		{"text/plain", "text é \x00"},
		{"text/plain", "\xff\xfe"},
		{"application/octet-stream", "\x00\x01\xff"},
		{"text/plain", ""},
	} {
		e := at(fmt.Sprint(i), -i)
		if c.media != "" {
			e.SetDataContentType(c.media)
		}
		e.DataEncoded = []byte(c.data)
		events = append(events, e)
	}
	s.append(store, events...)
	page, err := store.List(s.Context(), eventstore.Query{Project: "p"})
	require.NoError(s, err)
	require.Len(s, page.Events, len(events))
	for i, want := range events {
		got := page.Events[i]
		require.Equal(s, want.ID(), got.ID())
		require.Equal(s, want.Source(), got.Source())
		require.Equal(s, want.Type(), got.Type())
		require.Equal(s, want.Subject(), got.Subject())
		require.True(s, want.Time().Equal(got.Time()), "%s and %s", want.Time(), got.Time())
		require.Equal(s, want.DataSchema(), got.DataSchema())
		require.Equal(s, want.DataContentType(), got.DataContentType())
		require.Equal(s, want.Extensions(), got.Extensions())
		require.Equal(s, string(want.Data()), string(got.Data()))
		// What was read can be shown as JSON.
		text, err := got.MarshalJSON()
		require.NoError(s, err)
		again, err := event.FromJSON(text)
		require.NoError(s, err, "%s", text)
		require.Equal(s, string(want.Data()), string(again.Data()))
	}
	// An event without a time happens now.
	e := at("timeless", 0)
	e.SetTime(time.Time{})
	before := time.Now().Truncate(time.Microsecond)
	s.append(store, e)
	ids, _ := s.list(store, eventstore.Query{From: before, To: time.Now().Add(time.Second)})
	require.Equal(s, []string{"timeless"}, ids)
}

// filters: attributes select, as whole values.
func filters(s *suite) {
	store := s.store(0)
	for i := range 8 {
		e := at(fmt.Sprint(i), i)
		for bit, set := range []func(string){e.SetType, e.SetSource, e.SetSubject} {
			set([]string{"x", "y"}[i>>bit&1])
		}
		s.append(store, e)
	}
	f := func(q eventstore.Query, want ...string) {
		s.Helper()
		require.Equal(s, want, s.all(store, q), "%+v", q)
		q.PageSize = 1
		require.Equal(s, want, s.all(store, q), "%+v", q)
	}
	f(eventstore.Query{Type: "x"}, "6", "4", "2", "0")
	f(eventstore.Query{Type: "y"}, "7", "5", "3", "1")
	f(eventstore.Query{Source: "y"}, "7", "6", "3", "2")
	f(eventstore.Query{Subject: "y"}, "7", "6", "5", "4")
	f(eventstore.Query{Type: "y", Source: "x", Subject: "x"}, "1")
	f(eventstore.Query{Type: "y", From: noon.Add(3 * time.Second)}, "7", "5", "3")
	// Values are compared as a whole, and are values, whatever they look like.
	f(eventstore.Query{Type: "X"})
	f(eventstore.Query{Type: "x%"})
	f(eventstore.Query{Source: "' OR 1=1 --"})
}

// times: the interval of times has its start in it, and not its end.
func times(s *suite) {
	store := s.store(0)
	s.append(store, at("0", 0), at("1", 1), at("2", 2))
	f := func(from, to int, want ...string) {
		s.Helper()
		q := eventstore.Query{From: noon.Add(time.Duration(from) * time.Second), To: noon.Add(time.Duration(to) * time.Second)}
		require.Equal(s, want, s.all(store, q))
	}
	f(0, 3, "2", "1", "0")
	f(0, 2, "1", "0")
	f(1, 2, "1")
	f(1, 1)
	f(2, 1)
	f(3, 9)
	require.Equal(s, []string{"2", "1"}, s.all(store, eventstore.Query{From: noon.Add(time.Second)}))
	require.Equal(s, []string{"0"}, s.all(store, eventstore.Query{To: noon.Add(time.Second)}))
	require.Equal(s, []string{"2"}, s.all(store, eventstore.Query{From: noon.Add(time.Second + time.Microsecond)}))
	// Any year can be said.
	for i, year := range []int{1, 1969, 9999} {
		e := at(fmt.Sprint("y", i), 0)
		e.SetTime(time.Date(year, 1, 1, 1, 0, 0, 0, time.UTC))
		s.append(store, e)
	}
	require.Equal(s, []string{"y2", "2", "1", "0", "y1", "y0"}, s.all(store, eventstore.Query{}))
}

// pages: pages of any size give the same list.
func pages(s *suite) {
	store := s.store(0)
	var events []event.Event
	for i := range 20 {
		events = append(events, at(fmt.Sprint(i), i/7)) // many of one time
	}
	s.append(store, events...)
	want := s.all(store, eventstore.Query{})
	require.Len(s, want, 20)
	for size := 1; size <= 21; size++ {
		require.Equal(s, want, s.all(store, eventstore.Query{PageSize: size}), "pages of %d", size)
	}
}

// stablePages: pages go on where they were, whatever is appended meanwhile.
func stablePages(s *suite) {
	store := s.store(0)
	s.append(store, at("1", 1), at("2", 2), at("3", 3), at("4", 4))
	first, token := s.list(store, eventstore.Query{PageSize: 2})
	require.Equal(s, []string{"4", "3"}, first)
	s.append(store, at("5", 5), at("3a", 3))
	rest := s.all(store, eventstore.Query{PageSize: 2, PageToken: token})
	require.Equal(s, []string{"2", "1"}, slices.DeleteFunc(rest, func(id string) bool { return id == "3a" }))
	// A token can be used again, with another size.
	again, _ := s.list(store, eventstore.Query{PageSize: 1, PageToken: token})
	require.Len(s, again, 1)
}

// pageTokens: a token that is none, or of another selection, is refused.
func pageTokens(s *suite) {
	store := s.store(0)
	s.append(store, at("1", 1), at("2", 2), at("3", 3))
	_, token := s.list(store, eventstore.Query{PageSize: 1})
	require.NotEmpty(s, token)
	for _, q := range []eventstore.Query{
		{PageToken: "x"},
		{PageToken: token + "x"},
		{PageToken: token[1:]},
		{PageToken: token, Type: "t"},
		{PageToken: token, Source: "s"},
		{PageToken: token, Subject: "u"},
		{PageToken: token, From: noon},
		{PageToken: token, To: noon},
		{PageToken: token, Project: "q"},
	} {
		if q.Project == "" {
			q.Project = "p"
		}
		_, err := store.List(s.Context(), q)
		require.Equal(s, fault.Invalid, fault.KindOf(err), "%+v: %v", q, err)
		var e *fault.Error
		require.ErrorAs(s, err, &e)
		require.Equal(s, "pageToken", e.Field)
	}
}

// pageSizes: a page has the default size, and never more than the bound.
func pageSizes(s *suite) {
	store := s.store(0)
	var events []event.Event
	for i := range eventstore.MaxPageSize + 1 {
		events = append(events, at(fmt.Sprint(i), i))
	}
	s.append(store, events...)
	for size, want := range map[int]int{0: eventstore.DefaultPageSize, 7: 7, eventstore.MaxPageSize + 1: eventstore.MaxPageSize} {
		ids, token := s.list(store, eventstore.Query{PageSize: size})
		require.Len(s, ids, want)
		require.NotEmpty(s, token)
	}
}

// duplicates: an event counts once, and the first one stays.
func duplicates(s *suite) {
	store := s.store(0)
	first := at("1", 1)
	require.NoError(s, first.SetData("text/plain", "first"))
	second := at("1", 2)
	require.NoError(s, second.SetData("text/plain", "second"))
	other := at("1", 3)
	other.SetSource("other")
	require.Equal(s, eventstore.Appended{Stored: 2, Duplicates: 1}, s.append(store, first, second, other))
	require.Equal(s, eventstore.Appended{Duplicates: 2}, s.append(store, second, other))
	page, err := store.List(s.Context(), eventstore.Query{Project: "p"})
	require.NoError(s, err)
	require.Len(s, page.Events, 2)
	require.Equal(s, "first", string(page.Events[1].Data()))
}

// projects: projects do not see each other.
func projects(s *suite) {
	store := s.store(0)
	done, err := store.Append(s.Context(), []eventstore.Record{{Project: "p", Event: at("1", 1)}, {Project: "q", Event: at("1", 1)}, {Project: "p", Event: at("2", 2)}})
	require.NoError(s, err)
	require.Equal(s, eventstore.Appended{Stored: 3}, done)
	require.Equal(s, []string{"2", "1"}, s.all(store, eventstore.Query{}))
	require.Equal(s, []string{"1"}, s.all(store, eventstore.Query{Project: "q"}))
	require.Empty(s, s.all(store, eventstore.Query{Project: "pq"}))
}

// invalid: a record that cannot be kept sinks its append, and leaves nothing.
func invalid(s *suite) {
	store := s.store(0)
	for name, bad := range map[string]eventstore.Record{
		"no project": {Event: at("2", 2)}, "no event": {Project: "p"}, "no id": {Project: "p", Event: at("", 2)},
	} {
		_, err := store.Append(s.Context(), []eventstore.Record{{Project: "p", Event: at("1", 1)}, bad})
		require.Equal(s, fault.Invalid, fault.KindOf(err), "%s: %v", name, err)
	}
	require.Empty(s, s.all(store, eventstore.Query{}), "a part of a refused append was kept")
	_, err := store.List(s.Context(), eventstore.Query{})
	require.Equal(s, fault.Invalid, fault.KindOf(err), "all projects at once")
}

// eviction: the oldest events over the bound are deleted and counted.
func eviction(s *suite) {
	store := s.store(3)
	s.append(store, at("2", 2), at("4", 4), at("3", 3))
	require.Equal(s, eventstore.Appended{Stored: 1, Evicted: 1}, s.append(store, at("5", 5)))
	require.Equal(s, []string{"5", "4", "3"}, s.all(store, eventstore.Query{}))
	// A late event is the oldest itself.
	require.Equal(s, eventstore.Appended{Stored: 1, Evicted: 1}, s.append(store, at("1", 1)))
	require.Equal(s, []string{"5", "4", "3"}, s.all(store, eventstore.Query{}))
	// Duplicates evict nothing.
	require.Equal(s, eventstore.Appended{Duplicates: 1}, s.append(store, at("5", 5)))
	// One append may be larger than the store, and another project is another
	// bound.
	require.Equal(s, eventstore.Appended{Stored: 5, Evicted: 5}, s.append(store, at("6", 6), at("7", 7), at("8", 8), at("9", 9), at("10", 10)))
	require.Equal(s, []string{"10", "9", "8"}, s.all(store, eventstore.Query{}))
	done, err := store.Append(s.Context(), []eventstore.Record{{Project: "q", Event: at("1", 1)}})
	require.NoError(s, err)
	require.Equal(s, eventstore.Appended{Stored: 1}, done)
	require.Equal(s, []string{"10", "9", "8"}, s.all(store, eventstore.Query{}))
}

// concurrency: concurrent appends of the same events store each once.
func concurrency(s *suite) {
	store := s.store(0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var total eventstore.Appended
	for range 4 {
		wg.Go(func() {
			for i := range 10 {
				done, err := store.Append(s.Context(), []eventstore.Record{{Project: "p", Event: at(fmt.Sprint(i), i)}})
				if err != nil {
					s.Error(err)
					return
				}
				mu.Lock()
				total.Stored += done.Stored
				total.Duplicates += done.Duplicates
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(s, eventstore.Appended{Stored: 10, Duplicates: 30}, total)
	require.Equal(s, []string{"9", "8", "7", "6", "5", "4", "3", "2", "1", "0"}, s.all(store, eventstore.Query{}))
}
