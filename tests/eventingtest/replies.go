package eventingtest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// replyCases are what becomes of a subscriber's answer.
func replyCases() []Case {
	return []Case{
		{"reply passes the triggers", testReply},
		{"reply that is empty", testEmptyReply},
		{"reply that is no event", testBadReply},
		{"reply in a loop", testLoop},
		{"reply with the TTL of its cause", testTTL},
	}
}

// typed are the filters for events of the type.
func typed(typ string) []filter.Spec { return []filter.Spec{{Exact: one("type", typ)}} }

func testReply(s *Suite) {
	first := s.subscriber(func(_ context.Context, e event.Event, _ int) answer {
		time.Sleep(10 * time.Millisecond) // so that the arrival times differ
		e.SetID(e.ID() + "-reply")
		e.SetType("u")
		return answer{status: 200, reply: &e}
	})
	second, every := s.subscriber(nil), s.subscriber(nil)
	s.apply(Trigger{Name: "second", Filters: typed("u"), Subscriber: second.url})
	s.apply(Trigger{Name: "every", Subscriber: every.url})
	s.apply(Trigger{Name: "first", Filters: typed("t"), Subscriber: first.url})
	s.post(s.event("1", "t"))
	require.Equal(s, []string{"1-reply"}, ids(second.exactly(1)))
	require.ElementsMatch(s, []string{"1", "1-reply"}, ids(every.exactly(2)))
	cause, reply := first.exactly(1)[0].event, second.exactly(1)[0].event
	require.NotEqual(s, event.Extension(&cause, event.ArrivalTime), event.Extension(&reply, event.ArrivalTime), "new at each pass")
}

func testEmptyReply(s *Suite) {
	sub := s.subscriber(says(200))
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(2, "")})
	s.post(s.event("1", "t"))
	sub.exactly(1)
}

func testBadReply(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(func(context.Context, event.Event, int) answer {
		return answer{status: 200, contentType: "text/plain", body: "ok"}
	})
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(1, dead.url)})
	s.post(s.event("1", "t"))
	e := dead.exactly(1)[0].event
	code := "502"
	if s.Cluster {
		code = ""
	}
	require.Equal(s, code, event.Extension(&e, "knativeerrorcode"))
	sub.exactly(2)
}

// echo replies every event under a new id.
func echo(_ context.Context, e event.Event, _ int) answer {
	e.SetID(e.ID() + "x")
	return answer{status: 200, reply: &e}
}

func testLoop(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(echo)
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(0, dead.url)})
	s.post(s.event("1", "t"))
	got := sub.exactly(255)
	last := dead.exactly(1)[0].event
	require.Equal(s, got[254].event.ID(), last.ID())
	require.Equal(s, "1", event.Extension(&last, event.BrokerTTL))
	for _, d := range got {
		require.Empty(s, event.Extension(&d.event, event.BrokerTTL), "removed before the subscriber")
	}
}

func testTTL(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(echo)
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(0, dead.url)})
	e := s.event("1", "t")
	e.SetExtension(event.BrokerTTL, 6)
	s.post(e)
	dead.exactly(1)
	require.Len(s, sub.exactly(5), 5, "one less than the publisher said")
}
