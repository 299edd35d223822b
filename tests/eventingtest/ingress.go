package eventingtest

import (
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// ingressCases are what the ingress answers.
func ingressCases() []Case {
	return []Case{
		{"ingress takes an event", testTakes},
		{"ingress refuses what is no event", testRefuses},
		{"ingress knows its methods", testMethods},
		{"ingress takes events of 0.3", testOldEvents},
		{"ingress answers when the event is safe", testAnswersFirst},
		{"ingress drops duplicates", testDuplicates},
		{"ingress sets its own attributes", testReserved},
	}
}

// headers are those of an event of the case in binary mode, with further ones;
// an empty value leaves one out.
func (s *Suite) headers(id string, more ...string) http.Header {
	h := http.Header{}
	e := s.event(id, "t")
	require.NoError(s, event.SetHeaders(h, &e))
	for i := 0; i < len(more); i += 2 {
		h.Del(more[i])
		if more[i+1] != "" {
			h.Set(more[i], more[i+1])
		}
	}
	return h
}

func testTakes(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url})
	url := s.Broker.Ingress("default")
	f := func(want int, h http.Header, body string) {
		s.Helper()
		status, _ := s.request(http.MethodPost, url, h, body)
		require.Equal(s, want, status)
	}
	f(202, s.headers("1"), `{"a":1}`)
	f(202, http.Header{"Content-Type": {event.MediaStructured}}, `{"specversion":"1.0","id":"2","source":"/s","type":"t","suitecase":"`+s.mark+`","data":{"a":1}}`)
	f(202, s.headers("3", "Ce-Knativebrokerttl", "2"), `{"a":1}`)
	f(202, s.headers("4", "Content-Type", "text/plain"), `not JSON`)
	got := sub.exactly(4)
	require.ElementsMatch(s, []string{"1", "2", "3", "4"}, ids(got))
}

func testRefuses(s *Suite) {
	url := s.Broker.Ingress("default")
	f := func(want int, to string, h http.Header, body string) {
		s.Helper()
		status, _ := s.request(http.MethodPost, to, h, body)
		require.Equal(s, want, status, "%v %s", h, body)
	}
	f(400, url, http.Header{"Content-Type": {"application/json"}}, `{}`)
	f(400, url, http.Header{}, ``)
	for _, name := range []string{"Ce-Id", "Ce-Source", "Ce-Type", "Ce-Specversion"} {
		f(400, url, s.headers("1", name, ""), `{}`)
	}
	f(400, url, http.Header{"Content-Type": {event.MediaStructured}}, `{"specversion":"1.0"}`)
	f(400, url, http.Header{"Content-Type": {event.MediaBatch}}, `[{"specversion":"1.0","id":"2","source":"/s","type":"t"}]`)
	f(400, url, s.headers("1", "Ce-Knativebrokerttl", "0"), `{}`)
	f(400, url, s.headers("1", "Ce-Knativebrokerttl", "1"), `{}`)
	f(400, url+"/more", s.headers("1"), `{}`)
	f(404, s.Broker.Ingress("absent"), s.headers("1"), `{}`)
}

func testMethods(s *Suite) {
	url := s.Broker.Ingress("default")
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		status, h := s.request(method, url, http.Header{}, "")
		require.Equal(s, 405, status, method)
		require.Equal(s, "POST, OPTIONS", h.Get("Allow"), method)
	}
	status, h := s.request(http.MethodOptions, url, http.Header{}, "")
	require.Equal(s, 200, status)
	require.Equal(s, "POST, OPTIONS", h.Get("Allow"))
	require.Equal(s, "*", h.Get("WebHook-Allowed-Origin"))
}

func testOldEvents(s *Suite) {
	status, _ := s.request(http.MethodPost, s.Broker.Ingress("default"), s.headers("1", "Ce-Specversion", "0.3"), `{}`)
	require.Equal(s, either(s, 202, 400), status)
}

func testAnswersFirst(s *Suite) {
	const pause = time.Second
	sub := s.subscriber(says(500))
	s.apply(Trigger{Name: "a", Subscriber: sub.url, Delivery: &Delivery{Retry: 1, BackoffPolicy: "exponential", BackoffDelay: "PT1S"}})
	begin := time.Now()
	status := s.post(s.event("1", "t"))
	require.Equal(s, either(s, true, false), time.Since(begin) >= pause, "the publisher waited for the retry")
	require.Equal(s, either(s, 500, 202), status, "the publisher is told what became of it")
	sub.exactly(2)
}

func testDuplicates(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url})
	for range 2 {
		s.post(s.event("1", "t"))
	}
	s.post(s.event("2", "t"))
	require.ElementsMatch(s, either(s, []string{"1", "1", "2"}, []string{"1", "2"}), ids(sub.exactly(either(s, 3, 2))))
}

func testReserved(s *Suite) {
	sub := s.subscriber(nil)
	s.apply(Trigger{Name: "a", Subscriber: sub.url})
	e := s.event("1", "t")
	e.SetExtension("selvedgeroute", "writer")
	s.post(e)
	got := sub.exactly(1)[0].event
	require.Equal(s, either(s, "writer", ""), event.Extension(&got, "selvedgeroute"))
	require.Equal(s, !s.Knative, strings.HasPrefix(event.Extension(&got, "selvedgeproject"), s.Namespace) && event.Extension(&got, "selvedgeproject") != "")
}
