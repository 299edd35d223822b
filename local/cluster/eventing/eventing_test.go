package eventing_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/eventing"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/ledger"
)

// service is the kind of Knative's services, as far as triggers look at it.
var service = &object.Kind{Group: "serving.knative.dev", Version: "v1", Name: "Service", Plural: "services", Status: true}

// world is a broker with its controllers.
type world struct {
	t      *testing.T
	dir    string
	store  *object.Store
	broker *broker.Broker
	e      *eventing.Eventing
	stop   func()

	mu sync.Mutex
	// got are the ids of the events that each service got.
	got     map[string][]string
	arrived chan struct{}
}

// newWorld opens one in a folder.
func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, got: map[string][]string{}, arrived: make(chan struct{}, 1000)}
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "o.db"), object.Schema+ledger.Schema+deadletters.Schema)
	require.NoError(t, err)
	w.store, err = object.Open(t.Context(), db, append(eventing.Kinds(), service), object.Options{})
	require.NoError(t, err)
	w.broker, err = broker.Open(t.Context(), broker.Options{Dir: filepath.Join(dir, "broker"), Ledger: ledger.New(db), DeadLetters: deadletters.New(db, deadletters.Options{})}, nil)
	require.NoError(t, err)
	w.e = eventing.New(eventing.Options{
		Store: w.store, Triggers: w.broker, URL: func() string { return "http://here" },
		Service:   func(namespace, name string) delivery.Sink { return sink{w, namespace + "/" + name} },
		Publisher: func(project, name string) delivery.Sink { return sink{w, "broker " + project + "/" + name} },
		Client:    eventing.NewClient(false),
	})
	require.NoError(t, w.e.Open(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.broker.Run(ctx) })
	running.Go(func() { _ = w.e.Run(ctx) })
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
			require.NoError(t, w.broker.Close())
			require.NoError(t, db.Close())
		})
	}
	t.Cleanup(w.stop)
	return w
}

// sink notes what it gets.
type sink struct {
	w    *world
	name string
}

// Deliver implements delivery.Sink.
func (s sink) Deliver(_ context.Context, e event.Event) delivery.Result {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.got[s.name] = append(s.w.got[s.name], e.ID())
	s.w.arrived <- struct{}{}
	return delivery.Result{Status: http.StatusAccepted}
}

// publish publishes an event of a project.
func (w *world) publish(project, typ, id string) {
	w.t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetType(typ)
	e.SetSource("//test/" + project)
	e.SetExtension(event.Project, project)
	_, err := w.broker.Publish(w.t.Context(), []event.Event{e})
	require.NoError(w.t, err)
}

// await waits for n deliveries.
func (w *world) await(n int) {
	w.t.Helper()
	for range n {
		select {
		case <-w.arrived:
		case <-time.After(20 * time.Second):
			w.t.Fatal("no delivery")
		}
	}
}

// create creates an object from its parts.
func (w *world) create(k object.Key, namespace, name, spec string) object.Object {
	w.t.Helper()
	kind := w.store.Kind(k)
	o := kind.New(namespace, name)
	parsed, err := object.Parse([]byte(spec))
	require.NoError(w.t, err)
	o["spec"] = map[string]any(parsed)
	if kind.Admit != nil {
		require.NoError(w.t, kind.Admit(w.t.Context(), o, nil))
	}
	made, err := w.store.Create(w.t.Context(), o)
	require.NoError(w.t, err)
	return made
}

// address gives a service an address.
func (w *world) address(o object.Object) {
	w.t.Helper()
	o.Set("http://here/functions/"+o.Namespace()+"/"+o.Name(), "status", "address", "url")
	_, err := w.store.UpdateStatus(w.t.Context(), o)
	require.NoError(w.t, err)
}

// until waits until a trigger's condition Ready has a status.
func (w *world) until(namespace, name, status string) object.Object {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	at := int64(0)
	for {
		o, err := w.store.Get(eventing.Trigger, namespace, name)
		if err == nil && o.Condition("Ready").Status == status && o.Int("status", "observedGeneration") == o.Generation() {
			return o
		}
		_, head, err := w.store.Watch(ctx, object.Query{Kind: eventing.Trigger}, at)
		require.NoError(w.t, err, "%v", o)
		at = head
	}
}

const toFn = `{"subscriber":{"ref":{"apiVersion":"serving.knative.dev/v1","kind":"Service","name":"fn"}},"filter":{"attributes":{"type":"a"}}}`

// A trigger is set when all that it needs is there, whatever comes first.
func TestTrigger_IsSetWhenItsSubscriberIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	made := w.create(eventing.Trigger, "p", "t", toFn)
	require.Equal(t, "default", made.Text("spec", "broker"))
	o := w.until("p", "t", "False")
	require.Equal(t, "False", o.Condition("SubscriberResolved").Status)
	require.Equal(t, "True", o.Condition("BrokerReady").Status)
	require.Contains(t, o.Condition("Ready").Message, `"fn" not found`)
	b, err := w.store.Get(eventing.Broker, "p", "default")
	require.NoError(t, err, "the default broker is made")

	w.address(w.create(service.Key(), "p", "fn", `{}`))
	o = w.until("p", "t", "True")
	require.Equal(t, "http://here/functions/p/fn", o.Text("status", "subscriberUri"))
	w.publish("p", "a", "1")
	w.publish("p", "b", "2")
	w.publish("q", "a", "3")
	w.await(1)
	require.NoError(t, w.broker.Settle(t.Context()))
	w.mu.Lock()
	require.Equal(t, map[string][]string{"p/fn": {"1"}}, w.got, "of its project, and what passes its filter")
	w.mu.Unlock()
	require.Equal(t, "default", b.Name())
}

// A change of the filter holds from then on; a deletion ends it.
func TestTrigger_ChangesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	w.address(w.create(service.Key(), "p", "fn", `{}`))
	w.create(eventing.Trigger, "p", "t", toFn)
	o := w.until("p", "t", "True")
	o.Set("b", "spec", "filter", "attributes", "type")
	_, err := w.store.Update(t.Context(), o)
	require.NoError(t, err)
	w.until("p", "t", "True")
	w.publish("p", "a", "1")
	w.publish("p", "b", "2")
	w.await(1)
	_, err = w.store.Delete(t.Context(), eventing.Trigger, "p", "t", object.Preconditions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(w.broker.Stats()) == 1 }, 20*time.Second, time.Millisecond, "only the one for what nobody wants is left")
	w.mu.Lock()
	require.Equal(t, map[string][]string{"p/fn": {"2"}}, w.got)
	w.mu.Unlock()
}

// Events that came while the platform was down are delivered after it; triggers
// whose objects went meanwhile are forgotten.
func TestTrigger_GoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	w.address(w.create(service.Key(), "p", "fn", `{}`))
	w.create(eventing.Trigger, "p", "t", toFn)
	w.create(eventing.Trigger, "p", "gone", toFn)
	w.until("p", "t", "True")
	w.until("p", "gone", "True")
	w.stop()

	w = newWorld(t, dir)
	_, err := w.store.Delete(t.Context(), eventing.Trigger, "p", "gone", object.Preconditions{})
	require.NoError(t, err)
	w.stop()

	w = newWorld(t, dir)
	require.Empty(t, w.broker.Idle())
	w.publish("p", "a", "1")
	w.await(1)
}

func TestTrigger_ToAnotherBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	w.create(eventing.Trigger, "p", "t", `{"subscriber":{"ref":{"apiVersion":"eventing.knative.dev/v1","kind":"Broker","name":"other"}}}`)
	w.until("p", "t", "False")
	require.False(t, w.e.Exists("p", "other"))
	w.create(eventing.Broker, "p", "other", `{}`)
	require.True(t, w.e.Exists("p", "other"))
	require.True(t, w.e.Exists("p", "default"))
	o := w.until("p", "t", "True")
	require.Equal(t, "http://here/brokers/p/other", o.Text("status", "subscriberUri"))
	w.publish("p", "a", "1")
	w.await(1)
}

func TestAdmit_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	f := func(k object.Key, spec, field string) {
		t.Helper()
		o := w.store.Kind(k).New("p", "x")
		parsed, err := object.Parse([]byte(spec))
		require.NoError(t, err)
		o["spec"] = map[string]any(parsed)
		err = w.store.Kind(k).Admit(t.Context(), o, nil)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s", spec)
		require.ErrorContains(t, err, field)
	}
	f(eventing.Trigger, `{}`, "spec.subscriber")
	f(eventing.Trigger, `{"subscriber":{"uri":"http://x"},"filters":[{"cesql":"("}]}`, "spec.filters[0]")
	f(eventing.Trigger, `{"subscriber":{"uri":"http://x"},"what":1}`, "what")
	f(eventing.Trigger, `{"subscriber":{"uri":"http://x"},"delivery":{"backoffDelay":"5s"}}`, "backoffDelay")
	f(eventing.Broker, `{"delivery":{"retry":-1}}`, "retry")
	kind := w.store.Kind(eventing.Trigger)
	old := kind.New("p", "x")
	old["spec"] = map[string]any{"broker": "a", "subscriber": map[string]any{"uri": "http://x"}}
	o := old.Clone()
	o.Set("b", "spec", "broker")
	require.ErrorContains(t, kind.Admit(t.Context(), o, old), "spec.broker")
}

// What is inside the platform's machine cannot be reached by a URL.
func TestClient_StaysOutside(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	get := func(c *http.Client, url string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := c.Do(req)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
		return err
	}
	require.NoError(t, get(eventing.NewClient(true), server.URL))
	for _, url := range []string{server.URL, "http://localhost:1", "http://[::1]:1", "http://169.254.169.254", "http://0.0.0.0:1", "http://[::ffff:127.0.0.1]:1"} {
		require.ErrorContains(t, get(eventing.NewClient(false), url), "--local-subscribers", url)
	}
}
