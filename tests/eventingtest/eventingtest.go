// Package eventingtest is one suite of what a broker and its triggers do, as
// their publishers and subscribers see it over HTTP: filters of every dialect,
// retry and back-off, dead letters, replies, the TTL, order, groups, and the
// answers of the ingress. It runs against any broker that takes Knative's
// Trigger YAML: the embedded one here, Knative's own on a cluster.
//
// What is meant to differ is in Differences, case by case, and each such case
// asserts both sides: on the broker that it runs against it must be as that row
// says. Cases are independent and run in parallel, but for Knative's, where a
// trigger that is deleted fails the events of others that are under way. Every
// case marks its events, so that no other's triggers see them.
package eventingtest

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// Broker is a broker under test.
type Broker interface {
	// Ingress is the URL of the broker of that name: "default" is there, and
	// "absent" is not.
	Ingress(name string) string
	// Apply creates or replaces the Trigger that the YAML is, which here is in
	// JSON, and returns when it is in force.
	Apply(ctx context.Context, manifest []byte) error
	// Delete deletes the trigger of that name.
	Delete(ctx context.Context, name string) error
}

// Options are what a run of the suite needs.
type Options struct {
	Broker Broker
	// Namespace is that of the triggers.
	Namespace string
	// Knative says that it is Knative's own broker, with the in-memory channel.
	Knative bool
	// Cluster says that it is that on a cluster, not its handlers in a test.
	Cluster bool
	// Client posts the events; http.DefaultClient when nil.
	Client *http.Client
	// Listen is the address that subscribers listen on, with port 0;
	// "127.0.0.1:0" by default. The broker must reach them there.
	Listen string
	// Quiet is how long nothing must come for it to be believed that nothing
	// will; 300 ms by default.
	Quiet time.Duration
	// Patience is how long is waited for what must come; 30 s by default.
	Patience time.Duration
}

// Case is one case of the suite.
type Case struct {
	Name string
	Run  func(s *Suite)
}

// Cases are all cases.
func Cases() []Case {
	all := ingressCases()
	for _, more := range [][]Case{filterCases(), deliveryCases(), replyCases(), orderCases()} {
		all = append(all, more...)
	}
	return all
}

// Run runs every case.
func Run(t *testing.T, o Options) {
	t.Helper()
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Quiet = cmp.Or(o.Quiet, 300*time.Millisecond)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if !o.Knative {
				t.Parallel()
			}
			s := &Suite{T: t, Options: o, mark: strings.NewReplacer(" ", "", ",", "").Replace(c.Name)}
			c.Run(s)
		})
	}
}

// Suite is what a case works with.
type Suite struct {
	*testing.T
	Options
	// mark is the attribute that tells the events of this case.
	mark string
}

// marker is the name of the attribute that tells the events of a case.
const marker = "suitecase"

// Trigger is a trigger of a case. It sees the events of its own case only.
type Trigger struct {
	Name string
	// Filters are asked for beside the mark of the case.
	Filters []filter.Spec
	// Attributes are the older filter, instead of Filters.
	Attributes map[string]string
	Subscriber string
	Delivery   *Delivery
}

// Delivery is the delivery of a trigger, as YAML spells it.
type Delivery struct {
	Retry          int          `json:"retry"`
	BackoffPolicy  string       `json:"backoffPolicy,omitempty"`
	BackoffDelay   string       `json:"backoffDelay,omitempty"`
	Timeout        string       `json:"timeout,omitempty"`
	DeadLetterSink *destination `json:"deadLetterSink,omitempty"`
}

// destination is a URI as YAML spells it.
type destination struct {
	URI string `json:"uri"`
}

// retries is a delivery with that many retries, a short pause between them and
// a dead letter sink, unless that is "".
func retries(n int, deadLetters string) *Delivery {
	d := &Delivery{Retry: n, BackoffPolicy: "linear", BackoffDelay: "PT0.02S"}
	if deadLetters != "" {
		d.DeadLetterSink = &destination{deadLetters}
	}
	return d
}

// name is the name of a trigger of this case: a DNS label.
func (s *Suite) name(of string) string {
	return strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(s.mark)) + "-" + of
}

// apply applies a trigger, and deletes it when the case ends.
func (s *Suite) apply(tr Trigger) {
	s.Helper()
	spec := map[string]any{"broker": "default", "subscriber": destination{tr.Subscriber}}
	if tr.Attributes != nil {
		tr.Attributes[marker] = s.mark
		spec["filter"] = map[string]any{"attributes": tr.Attributes}
	} else {
		spec["filters"] = append([]filter.Spec{{Exact: map[string]string{marker: s.mark}}}, tr.Filters...)
	}
	if tr.Delivery != nil {
		spec["delivery"] = tr.Delivery
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "spec": spec,
		"metadata": map[string]string{"name": s.name(tr.Name), "namespace": s.Namespace},
	})
	require.NoError(s, err)
	require.NoError(s, s.Broker.Apply(s.Context(), text), "%s", text)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
		defer cancel()
		// A case may apply a trigger twice, and it is deleted once.
		_ = s.Broker.Delete(ctx, s.name(tr.Name))
	})
}

// event is an event of this case.
func (s *Suite) event(id, typ string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("/" + s.mark)
	e.SetType(typ)
	e.SetExtension(marker, s.mark)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(`{"a":1}`)
	return e
}

// post posts an event, which must be taken, and returns the status. Knative's
// answers 500 for one that it took and that a subscriber did not.
func (s *Suite) post(e event.Event) int {
	s.Helper()
	h := http.Header{}
	require.NoError(s, event.SetHeaders(h, &e))
	status, _ := s.request(http.MethodPost, s.Broker.Ingress("default"), h, string(e.Data()))
	if !s.Knative || status != http.StatusInternalServerError {
		require.Equal(s, http.StatusAccepted, status)
	}
	return status
}

// request makes a request and returns the status and the headers of the answer.
func (s *Suite) request(method, url string, h http.Header, body string) (int, http.Header) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), s.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(s, err)
	req.Header = h
	resp, err := s.Options.Client.Do(req)
	require.NoError(s, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(s, err)
	require.NoError(s, resp.Body.Close())
	return resp.StatusCode, resp.Header
}
