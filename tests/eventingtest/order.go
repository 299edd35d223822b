package eventingtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// orderCases are what events and subscribers do to each other.
func orderCases() []Case {
	return []Case{
		{"order of one source", testOrder},
		{"order beside an event that fails", testOrderBesideFailure},
		{"groups get every event, their members share them", testGroups},
		{"poison harms nobody else", testPoison},
		{"slow beside fast", testSlow},
		{"burst from many publishers", testBurst},
	}
}

func testOrder(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url})
	const n = 200
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprint(i)
		s.post(s.event(want[i], "t"))
	}
	require.Equal(s, want, ids(sub.exactly(n)))
}

// testOrderBesideFailure: first attempts keep their order, an event in retry
// comes again later and stops nobody.
func testOrderBesideFailure(s *Suite) {
	sub := s.subscriber(func(_ context.Context, e event.Event, attempt int) answer {
		if e.ID() == "3" && attempt == 0 {
			return answer{status: 503}
		}
		return answer{status: 202}
	})
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: &Delivery{Retry: 3, BackoffPolicy: "exponential", BackoffDelay: "PT0.3S"}})
	for i := range 10 {
		s.post(s.event(fmt.Sprint(i), "t"))
	}
	got := ids(sub.exactly(11))
	var first []string
	seen := map[string]bool{}
	for _, id := range got {
		if !seen[id] {
			first = append(first, id)
		}
		seen[id] = true
	}
	require.Equal(s, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, first)
}

func testGroups(s *Suite) {
	groups := []*subscriber{s.subscriber(nil), s.subscriber(nil), s.subscriber(nil)}
	for i, g := range groups {
		s.apply(Trigger{Name: fmt.Sprint("group", i), Subscriber: g.url})
	}
	const n = 100
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprint(i)
		e := s.event(want[i], "t")
		e.SetSource(fmt.Sprint("/", s.mark, "/", i%7))
		s.post(e)
	}
	for _, g := range groups {
		require.ElementsMatch(s, want, ids(g.exactly(n)), "each event once")
	}
}

func testPoison(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(func(_ context.Context, e event.Event, _ int) answer {
		if e.ID() == "5" {
			return answer{status: 500, body: "panic"}
		}
		return answer{status: 202}
	})
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(2, dead.url)})
	for i := range 20 {
		s.post(s.event(fmt.Sprint(i), "t"))
	}
	require.Equal(s, []string{"5"}, ids(dead.exactly(1)))
	count := map[string]int{}
	for _, id := range ids(sub.exactly(22)) {
		count[id]++
	}
	require.Len(s, count, 20)
	require.Equal(s, 3, count["5"])
}

func testSlow(s *Suite) {
	release := make(chan struct{})
	var once sync.Once
	open := func() { once.Do(func() { close(release) }) }
	defer open()
	slow := s.subscriber(func(ctx context.Context, _ event.Event, _ int) answer {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return answer{status: 202}
	})
	fast := s.subscriber(nil)
	s.apply(Trigger{Name: "slow", Subscriber: slow.url})
	s.apply(Trigger{Name: "fast", Subscriber: fast.url})
	var posting sync.WaitGroup
	for i := range 20 {
		posting.Go(func() { s.post(s.event(fmt.Sprint(i), "t")) })
	}
	fast.wait(20)
	got, _ := slow.so()
	require.Empty(s, got)
	open()
	posting.Wait()
	slow.exactly(20)
	fast.exactly(20)
}

func testBurst(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: &Delivery{Retry: 10, BackoffPolicy: "linear", BackoffDelay: "PT0.1S"}})
	const publishers, each = 16, 40
	begin := time.Now()
	var posting sync.WaitGroup
	for p := range publishers {
		posting.Go(func() {
			for i := range each {
				e := s.event(fmt.Sprint(p, "-", i), "t")
				e.SetSource(fmt.Sprint("/", s.mark, "/", p))
				s.post(e)
			}
		})
	}
	posting.Wait()
	next := map[string]int{}
	for _, d := range sub.exactly(publishers * each) {
		source := d.event.Source()
		var p, i int
		_, err := fmt.Sscanf(d.event.ID(), "%d-%d", &p, &i)
		require.NoError(s, err)
		require.Equal(s, next[source], i, "in the order of its source")
		next[source]++
	}
	s.Logf("%d events, there and delivered: %v", publishers*each, time.Since(begin).Round(time.Millisecond))
}
