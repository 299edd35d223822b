package eventingtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// deliveryCases are what happens between the broker and a subscriber.
func deliveryCases() []Case {
	cases := []Case{
		{"delivery tells the subscriber", testHeaders},
		{"delivery backs off exponentially", testExponential},
		{"delivery backs off linearly", testLinear},
		{"delivery times out", testTimeout},
		{"delivery to a subscriber that is gone", testGone},
		{"delivery of a dead letter", testDeadLetter},
		{"delivery of a dead letter is retried", testDeadLetterRetried},
		{"delivery after a replacement", testReplaced},
		{"delivery ends with the trigger", testDeleted},
	}
	for _, status := range []int{200, 202, 204, 301, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504} {
		cases = append(cases, Case{fmt.Sprint("delivery answered ", status), func(s *Suite) { testStatus(s, status) }})
	}
	return cases
}

// testStatus counts the attempts and dead letters after an answer of the status.
func testStatus(s *Suite, status int) {
	dead := s.subscriber(nil)
	sub := s.subscriber(says(status))
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(2, dead.url)})
	s.post(s.event("1", "t"))
	attempts, letters := 1, 0
	if fault.Retried(status) {
		attempts = 3
	}
	if status >= 300 {
		letters = 1
	}
	sub.exactly(attempts)
	for _, d := range dead.exactly(letters) {
		require.Equal(s, fmt.Sprint(status), event.Extension(&d.event, "knativeerrorcode"))
	}
}

func testHeaders(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url})
	begin := time.Now().Add(-time.Minute)
	e := s.event("1", "t")
	e.SetSubject("hällo")
	e.SetExtension("level", 5)
	s.post(e)
	d := sub.exactly(1)[0]
	require.Equal(s, "reply", d.header.Get("Prefer"))
	require.Equal(s, s.Namespace, d.header.Get("Kn-Namespace"))
	require.Equal(s, "hällo", d.event.Subject())
	require.Equal(s, "5", event.Extension(&d.event, "level"))
	require.JSONEq(s, `{"a":1}`, string(d.event.Data()))
	require.Empty(s, event.Extension(&d.event, event.BrokerTTL))
	at, err := time.Parse(time.RFC3339Nano, event.Extension(&d.event, event.ArrivalTime))
	require.NoError(s, err)
	require.WithinRange(s, at, begin, time.Now().Add(time.Minute))
}

// pauses are the times between deliveries.
func pauses(got []delivered) []time.Duration {
	var out []time.Duration
	for i := 1; i < len(got); i++ {
		out = append(out, got[i].at.Sub(got[i-1].at))
	}
	return out
}

// backsOff holds that the pauses between attempts are at least those wanted,
// and not much more: a busy machine is late, and never early.
func backsOff(s *Suite, policy string, want ...time.Duration) {
	s.Helper()
	sub := s.subscriber(says(503))
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: &Delivery{Retry: len(want), BackoffPolicy: policy, BackoffDelay: "PT0.2S"}})
	s.post(s.event("1", "t"))
	for i, p := range pauses(sub.exactly(len(want) + 1)) {
		require.GreaterOrEqual(s, p, want[i]-5*time.Millisecond, "pause %d", i)
		require.Less(s, p, want[i]+s.Patience/3, "pause %d", i)
	}
}

func testExponential(s *Suite) {
	const ms = time.Millisecond
	backsOff(s, "exponential", 200*ms, 400*ms, 800*ms)
}

func testLinear(s *Suite) {
	const ms = time.Millisecond
	backsOff(s, "linear", 0, 200*ms, 400*ms)
}

func testTimeout(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(func(ctx context.Context, _ event.Event, _ int) answer {
		<-ctx.Done()
		return answer{status: 202}
	})
	d := retries(1, dead.url)
	d.Timeout = "PT0.3S"
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: d})
	s.post(s.event("1", "t"))
	require.Equal(s, []string{"1"}, ids(dead.exactly(1)))
	sub.exactly(2)
}

func testGone(s *Suite) {
	dead := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: "http://127.0.0.1:1/", Delivery: retries(1, dead.url)})
	s.post(s.event("1", "t"))
	e := dead.exactly(1)[0].event
	require.NotEmpty(s, event.Extension(&e, "knativeerrorcode"))
}

func testDeadLetter(s *Suite) {
	dead := s.subscriber(nil)
	sub := s.subscriber(func(context.Context, event.Event, int) answer {
		return answer{status: 400, contentType: "text/plain", body: "no numbers"}
	})
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(3, dead.url)})
	s.post(s.event("1", "t"))
	d := dead.exactly(1)[0]
	require.Equal(s, "1", d.event.ID())
	require.Equal(s, "t", d.event.Type())
	require.JSONEq(s, `{"a":1}`, string(d.event.Data()))
	require.Equal(s, "400", event.Extension(&d.event, "knativeerrorcode"))
	require.NotEmpty(s, event.Extension(&d.event, "knativeerrordest"))
	body, err := base64.StdEncoding.DecodeString(event.Extension(&d.event, "knativeerrordata"))
	require.NoError(s, err)
	if s.Knative {
		body = unwrapped(body)
	}
	require.Equal(s, "no numbers", string(body))
	require.Equal(s, "255", event.Extension(&d.event, event.BrokerTTL))
	require.NotEmpty(s, event.Extension(&d.event, event.ArrivalTime))
	sub.exactly(1)
}

// unwrapped is the answer's body in what the programs of Knative's broker tell
// each other, which its channel unwraps only when the program has the host name
// that it has in a cluster.
func unwrapped(body []byte) []byte {
	var told struct {
		Body []byte `json:"errresponsebody"`
	}
	if json.Unmarshal(body, &told) != nil {
		return body
	}
	return told.Body
}

func testDeadLetterRetried(s *Suite) {
	dead := s.subscriber(func(_ context.Context, _ event.Event, attempt int) answer {
		if attempt == 0 {
			return answer{status: 500}
		}
		return answer{status: 202}
	})
	sub := s.subscriber(says(400))
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: retries(2, dead.url)})
	s.post(s.event("1", "t"))
	dead.exactly(2)
	sub.exactly(1)
}

func testReplaced(s *Suite) {
	before, after := s.subscriber(nil), s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: before.url})
	s.post(s.event("1", "t"))
	before.exactly(1)
	s.apply(Trigger{Name: "a", Subscriber: after.url})
	s.post(s.event("2", "t"))
	require.Equal(s, []string{"2"}, ids(after.exactly(1)))
	require.Equal(s, []string{"1"}, ids(before.exactly(1)))
}

func testDeleted(s *Suite) {
	gone, witness := s.subscriber(nil), s.subscriber(nil)
	s.apply(Trigger{Name: "gone", Subscriber: gone.url})
	s.apply(Trigger{Name: "witness", Subscriber: witness.url})
	s.post(s.event("1", "t"))
	gone.exactly(1)
	require.NoError(s, s.Broker.Delete(s.Context(), s.name("gone")))
	s.post(s.event("2", "t"))
	witness.exactly(2)
	gone.exactly(1)
}
