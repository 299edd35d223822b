package conformance

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/pkg/apis"
	pkgduckv1 "knative.dev/pkg/apis/duck/v1"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/delivery"
)

// request is one request that a recorder got.
type request struct {
	path   string
	at     time.Time
	header http.Header
}

// recorder is a server that remembers its requests and answers each path with
// its handler, or 202.
type recorder struct {
	*httptest.Server
	mu  sync.Mutex
	got []request
}

// newRecorder starts a recorder.
func newRecorder(t *testing.T, handlers map[string]http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.got = append(r.got, request{req.URL.Path, time.Now(), req.Header.Clone()})
		r.mu.Unlock()
		if h := handlers[req.URL.Path]; h != nil {
			h(w, req)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(r.Close)
	return r
}

// on are the requests to path so far.
func (r *recorder) on(path string) []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []request
	for _, req := range r.got {
		if req.path == path {
			got = append(got, req)
		}
	}
	return got
}

// answer always answers with status and body.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		// A recorder has no use for a client that has gone.
		_, _ = io.WriteString(w, body)
	}
}

// addressable is a destination for Knative's dispatcher.
func addressable(t *testing.T, text string) *pkgduckv1.Addressable {
	t.Helper()
	u, err := apis.ParseURL(text)
	require.NoError(t, err)
	return &pkgduckv1.Addressable{URL: u}
}

// send has Knative deliver an event to the URL, with dead letters to dead
// unless that is empty. What the dispatcher panics with comes back as an error.
func send(t *testing.T, spec duckv1.DeliverySpec, url, dead string, more ...kncloudevents.SendOption) (err error) {
	t.Helper()
	config, err := kncloudevents.RetryConfigFromDeliverySpec(spec)
	require.NoError(t, err)
	options := append(more, kncloudevents.WithRetryConfig(&config))
	if dead != "" {
		options = append(options, kncloudevents.WithDeadLetterSink(addressable(t, dead)))
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	_, err = kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil).
		SendEvent(context.Background(), *made(with("region", "eu-west")), *addressable(t, url), options...)
	return err
}

// TestRetried_EveryStatus compares the decision after an answer.
func TestRetried_EveryStatus(t *testing.T) {
	t.Parallel()
	for status := 100; status < 600; status++ {
		theirs, err := kncloudevents.SelectiveRetry(context.Background(), &http.Response{StatusCode: status}, nil)
		require.NoError(t, err)
		require.Equal(t, theirs, fault.Retried(status), "status %d", status)
	}
	theirs, err := kncloudevents.SelectiveRetry(context.Background(), nil, io.EOF)
	require.NoError(t, err)
	require.Equal(t, theirs, fault.Retried(0), "no answer")
}

// TestDispatch_Attempts counts the attempts that the dispatcher makes with two
// retries, for one status of every sort.
func TestDispatch_Attempts(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 202, 204, 301, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 501, 502, 503, 504, 599} {
		r := newRecorder(t, map[string]http.HandlerFunc{"/sub": answer(status, "")})
		err := send(t, duckv1.DeliverySpec{Retry: ptr.To[int32](2)}, r.URL+"/sub", r.URL+"/dead")
		require.NoError(t, err, "a dead letter that was taken is a success")
		attempts, dead := 1, 0
		if fault.Retried(status) {
			attempts = 3
		}
		if status >= 300 {
			dead = 1
		}
		require.Len(t, r.on("/sub"), attempts, "status %d", status)
		require.Len(t, r.on("/dead"), dead, "status %d", status)
	}
}

// TestBackoff_Schedules compares the pauses before retries. Ours are bounded by
// delivery.MaxWait, Knative's by nothing.
func TestBackoff_Schedules(t *testing.T) {
	t.Parallel()
	const retries = 8
	for _, policy := range []duckv1.BackoffPolicyType{duckv1.BackoffPolicyExponential, duckv1.BackoffPolicyLinear} {
		for _, delay := range []string{"PT0S", "PT0.2S", "PT1S", "PT2M", "P1D"} {
			unit, err := knativeDuration(delay)
			require.NoError(t, err)
			config, err := kncloudevents.RetryConfigFromDeliverySpec(duckv1.DeliverySpec{BackoffPolicy: &policy, BackoffDelay: &delay})
			require.NoError(t, err)
			our := delivery.Policy{Retry: retries, Backoff: delivery.Backoff(policy), Delay: unit}
			for n := range retries {
				wait, again := our.Wait(n)
				require.True(t, again)
				require.Equal(t, min(config.Backoff(n, nil), delivery.MaxWait), wait, "%s %s, retry %d", policy, delay, n)
			}
			_, again := our.Wait(retries)
			require.False(t, again)
		}
	}
	t.Run("without a policy or a delay there is no pause", func(t *testing.T) {
		t.Parallel()
		for _, spec := range []duckv1.DeliverySpec{
			{Retry: ptr.To[int32](3)},
			{BackoffPolicy: ptr.To(duckv1.BackoffPolicyExponential)},
			{BackoffDelay: ptr.To("PT1S")},
		} {
			config, err := kncloudevents.RetryConfigFromDeliverySpec(spec)
			require.NoError(t, err)
			require.Zero(t, config.Backoff(5, nil))
		}
	})
}

// TestDispatch_Pauses measures that the schedule is what the dispatcher does:
// no attempt comes before its time.
func TestDispatch_Pauses(t *testing.T) {
	t.Parallel()
	const unit = 100 * time.Millisecond
	for policy, pauses := range map[duckv1.BackoffPolicyType][]time.Duration{
		duckv1.BackoffPolicyExponential: {unit, 2 * unit, 4 * unit},
		duckv1.BackoffPolicyLinear:      {0, unit, 2 * unit},
	} {
		r := newRecorder(t, map[string]http.HandlerFunc{"/sub": answer(http.StatusServiceUnavailable, "")})
		spec := duckv1.DeliverySpec{Retry: ptr.To[int32](3), BackoffPolicy: &policy, BackoffDelay: ptr.To("PT0.1S")}
		require.Error(t, send(t, spec, r.URL+"/sub", ""))
		got := r.on("/sub")
		require.Len(t, got, len(pauses)+1)
		for i, pause := range pauses {
			require.GreaterOrEqual(t, got[i+1].at.Sub(got[i].at), pause, "%s, retry %d", policy, i)
		}
	}
}

// TestDeadLetter_Attributes records what the dead letter sink is told.
func TestDeadLetter_Attributes(t *testing.T) {
	t.Parallel()
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	// The data is cut at 1024 characters of base64, which are 768 bytes.
	full := strings.Repeat("x", 768)
	for _, c := range []struct {
		status     int
		body, data string
	}{
		{http.StatusBadRequest, "no such reading", encode("no such reading")},
		{http.StatusUnprocessableEntity, `{"error":{"message":"no"}}`, encode(`{"error":{"message":"no"}}`)},
		{http.StatusServiceUnavailable, full, encode(full)},
		{http.StatusForbidden, "", ""},
	} {
		r := newRecorder(t, map[string]http.HandlerFunc{"/sub": answer(c.status, c.body)})
		require.NoError(t, send(t, duckv1.DeliverySpec{}, r.URL+"/sub", r.URL+"/dead"))
		got := r.on("/dead")
		require.Len(t, got, 1)
		header := got[0].header
		require.Equal(t, "eu-west", header.Get("Ce-Region"), "the event is the original one")
		require.Equal(t, r.URL+"/sub", header.Get("Ce-Knativeerrordest"))
		require.Equal(t, fmt.Sprint(c.status), header.Get("Ce-Knativeerrorcode"))
		require.Equal(t, c.data, header.Get("Ce-Knativeerrordata"))

		e := *made(with("region", "eu-west"))
		ours := delivery.DeadLetter(e, r.URL+"/sub", delivery.HTTP{URL: r.URL + "/sub"}.Deliver(context.Background(), e))
		sent := http.Header{}
		require.NoError(t, event.SetHeaders(sent, &ours))
		for _, name := range []string{"Ce-Knativeerrordest", "Ce-Knativeerrorcode", "Ce-Knativeerrordata"} {
			require.Equal(t, header.Get(name), sent.Get(name), name)
		}
	}
}

// TestDeadLetter_NoAnswer records that a subscriber that is not there counts as
// 500.
func TestDeadLetter_NoAnswer(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r := newRecorder(t, nil)
	require.NoError(t, send(t, duckv1.DeliverySpec{}, gone.URL, r.URL+"/dead"))
	got := r.on("/dead")
	require.Len(t, got, 1)
	require.Equal(t, "500", got[0].header.Get("Ce-Knativeerrorcode"))
	text, err := base64.StdEncoding.DecodeString(got[0].header.Get("Ce-Knativeerrordata"))
	require.NoError(t, err)
	require.Contains(t, string(text), "dispatch error: ")
}

// TestDeadLetter_LongBody records a defect that is not for us: the dispatcher
// encodes a longer answer than it has made room for, panics, and the event is
// gone. Ours keeps the beginning of the answer.
func TestDeadLetter_LongBody(t *testing.T) {
	t.Parallel()
	r := newRecorder(t, map[string]http.HandlerFunc{"/sub": answer(http.StatusBadRequest, strings.Repeat("x", 2000))})
	require.ErrorContains(t, send(t, duckv1.DeliverySpec{}, r.URL+"/sub", r.URL+"/dead"), "panic: ")
	require.Empty(t, r.on("/dead"))

	e := *made()
	result := delivery.HTTP{URL: r.URL + "/sub"}.Deliver(context.Background(), e)
	ours := delivery.DeadLetter(e, r.URL+"/sub", result)
	require.True(t, delivery.HTTP{URL: r.URL + "/dead"}.Deliver(context.Background(), ours).OK())
	require.Len(t, r.on("/dead"), 1)
}

// TestDispatch_Reply records what becomes of an answer: an event is passed on,
// and the subscriber was told that a reply is welcome.
func TestDispatch_Reply(t *testing.T) {
	t.Parallel()
	r := newRecorder(t, map[string]http.HandlerFunc{"/sub": func(w http.ResponseWriter, req *http.Request) {
		for name, values := range req.Header {
			if strings.HasPrefix(name, "Ce-") {
				w.Header()[name] = values
			}
		}
		w.Header().Set("Ce-Type", "reply")
		w.WriteHeader(http.StatusOK)
	}})
	require.NoError(t, send(t, duckv1.DeliverySpec{}, r.URL+"/sub", "", kncloudevents.WithReply(addressable(t, r.URL+"/reply"))))
	require.Equal(t, "reply", r.on("/sub")[0].header.Get("Prefer"))
	replies := r.on("/reply")
	require.Len(t, replies, 1)
	require.Equal(t, "reply", replies[0].header.Get("Ce-Type"))

	result := delivery.HTTP{URL: r.URL + "/sub"}.Deliver(context.Background(), *made())
	require.True(t, result.OK())
	require.Equal(t, "reply", result.Reply.Type())
	require.Equal(t, "reply", r.on("/sub")[1].header.Get("Prefer"))
}
