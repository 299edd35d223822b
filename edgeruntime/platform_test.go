package edgeruntime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// platform is a double of the platform's POST /v1/events. It follows the
// format of the answers and deduplicates, and is an http.RoundTripper, so that
// it works under the fake clock of synctest.
type platform struct {
	t   *testing.T
	now func() time.Time

	mu sync.Mutex
	// down is set while the platform cannot be reached.
	down bool
	// lenient is set where the queue may hold what is no event.
	lenient bool
	// script, when set, answers before the platform does; nil lets it pass.
	script func(p *post) *http.Response
	// reject, when set, says why an event is rejected; nil is not.
	reject func(e *event.Event) *fault.Status
	// posts are all that came, answered or not.
	posts []*post
	// accepted are the events that were stored, in order.
	accepted []event.Event
	stored   map[identity]string
}

// post is one request.
type post struct {
	at    time.Time
	key   string
	texts [][]byte
}

// events are the events of the batch.
func (n *post) events(t *testing.T) []event.Event {
	all := make([]event.Event, len(n.texts))
	for i, text := range n.texts {
		e, err := event.FromJSON(text)
		require.NoError(t, err)
		all[i] = e
	}
	return all
}

// newPlatform is a platform that is up.
func newPlatform(t *testing.T) *platform {
	return &platform{t: t, now: time.Now, stored: map[identity]string{}}
}

// answer is a response with the body.
func answer(status int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i+1 < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return w.Result()
}

// problem is the platform's own error answer.
func problem(err error) *http.Response {
	w := httptest.NewRecorder()
	fault.Write(w, err)
	return w.Result()
}

// lostAnswer marks a request that the platform got and answered in vain.
var lostAnswer = &http.Response{StatusCode: -1}

// errLink is what a transport without a link says.
var errLink = errors.New("no route to platform")

// RoundTrip implements http.RoundTripper.
func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if p.isDown() {
		return nil, errLink
	}
	body, err := io.ReadAll(r.Body)
	require.NoError(p.t, err)
	require.NoError(p.t, r.Body.Close())
	require.Equal(p.t, http.MethodPost, r.Method)
	require.Equal(p.t, "/v1/events", r.URL.Path)
	require.Equal(p.t, "application/cloudevents-batch+json", r.Header.Get("Content-Type"))
	texts, err := event.SplitJSON(body)
	if p.lenient && err != nil {
		return problem(err), nil
	}
	require.NoError(p.t, err)
	require.NotEmpty(p.t, texts)
	n := &post{at: p.now(), key: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), texts: texts}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posts = append(p.posts, n)
	var scripted *http.Response
	if p.script != nil {
		scripted = p.script(n)
	}
	switch scripted {
	case nil:
		return answer(http.StatusOK, p.take(n)), nil
	case lostAnswer:
		p.take(n)
		return nil, errLink
	}
	return scripted, nil
}

// isDown notes an attempt to reach a platform that is down.
func (p *platform) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		p.posts = append(p.posts, &post{at: p.now()})
	}
	return p.down
}

// take stores the events of n and returns the verdicts.
func (p *platform) take(n *post) string {
	var verdicts []verdict
	for _, text := range n.texts {
		e, err := event.FromJSON(text)
		if err != nil {
			st := fault.ProblemOf(err).Error
			verdicts = append(verdicts, verdict{ID: e.ID(), Source: e.Source(), Status: "rejected", Error: &st})
			continue
		}
		id := identity{e.ID(), e.Source()}
		v := verdict{ID: id.ID, Source: id.Source}
		switch before, twice := p.stored[id]; {
		case twice:
			v.Status = "duplicate"
			require.Equal(p.t, before, string(text), "the same id for another event")
		case p.reject != nil && p.reject(&e) != nil:
			v.Status, v.Error = "rejected", p.reject(&e)
		default:
			v.Status = "accepted"
			p.stored[id] = string(text)
			p.accepted = append(p.accepted, e)
		}
		verdicts = append(verdicts, v)
	}
	text, err := json.Marshal(verdicts)
	require.NoError(p.t, err)
	return string(text)
}

// set changes what the platform does.
func (p *platform) set(change func(p *platform)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// numbers are the numbers in the ids of the accepted events, which must be of
// one epoch.
func (p *platform) numbers() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ns []int
	epochs := map[string]bool{}
	for _, e := range p.accepted {
		epoch, n, ok := strings.Cut(e.ID(), "-")
		require.True(p.t, ok)
		epochs[epoch] = true
		i, err := strconv.Atoi(n)
		require.NoError(p.t, err)
		ns = append(ns, i)
	}
	require.LessOrEqual(p.t, len(epochs), 1)
	return ns
}

// figure is a leaf of the data of e, and whether it is there.
func figure(t *testing.T, e *event.Event, path string) (float64, bool) {
	t.Helper()
	var node any
	require.NoError(t, json.NewDecoder(bytes.NewReader(e.Data())).Decode(&node))
	for name := range strings.SplitSeq(path, "/") {
		m, ok := node.(map[string]any)
		if !ok {
			return 0, false
		}
		node = m[name]
	}
	v, ok := node.(float64)
	return v, ok
}

// requireFigure requires a leaf of the data of e to be there and have a value.
func requireFigure(t *testing.T, e *event.Event, path string, want float64) {
	t.Helper()
	got, ok := figure(t, e, path)
	require.True(t, ok, path)
	require.InDelta(t, want, got, 1e-9, path)
}

// upTo are the numbers from first to before end.
func upTo(first, end int) []int {
	var ns []int
	for n := first; n < end; n++ {
		ns = append(ns, n)
	}
	return ns
}

// textEvent is an event of this device as it is queued, made longer by pad.
func textEvent(id, pad string) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"//selvedge.dev/projects/p/devices/d","type":"t","time":"2026-01-02T03:04:05Z","data":{"x":1,"pad":%q}}`, id, pad)
}
