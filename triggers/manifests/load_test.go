package manifests_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/manifests"
)

const (
	// broker is the shortest Broker.
	broker = `apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
`
	// head is the part of a Trigger that is always there.
	head = `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec:
  broker: default
`
	// subscriber is a destination, indented for a Trigger's spec.
	subscriber = "  subscriber: {uri: 'http://example.com/'}\n"
	// trigger is the shortest Trigger.
	trigger = head + subscriber
)

// file is a system with one file.
func file(name, text string) fs.FS { return fstest.MapFS{name: {Data: []byte(text)}} }

func TestLoad_EveryField(t *testing.T) {
	t.Parallel()
	set, err := manifests.Load(fstest.MapFS{
		"README.md": {Data: []byte("not a manifest")},
		"a/all.yaml": {Data: []byte(`# A comment before the first marker is no document.
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: pool
  namespace: plant
  annotations: {eventing.knative.dev/broker.class: MTChannelBasedBroker}
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: config-br, namespace: knative-eventing}
  delivery: {retry: 3}
--- # The trigger.
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: to.door
  namespace: plant
  labels: {app: door}
  annotations: {team: "1"}
spec:
  broker: pool
  filter: {attributes: {type: never}}
  filters:
    - prefix: {type: com.}
    - not: {cesql: "level > 3"}
  subscriber:
    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: door}
    uri: /open
  delivery:
    retry: 2
    backoffPolicy: linear
    backoffDelay: PT1M0.5S
    timeout: PT30S
    deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead, namespace: morgue}}
...
---
`)},
		"b.yml": {Data: []byte(strings.ReplaceAll(broker, "\n", "\r\n"))},
	})
	require.NoError(t, err)

	require.Equal(t, []manifests.Broker{
		{
			Meta: manifests.Meta{
				Name: "pool", Namespace: "plant",
				Annotations: map[string]string{"eventing.knative.dev/broker.class": "MTChannelBasedBroker"},
			},
			Config:   &manifests.Ref{APIVersion: "v1", Kind: "ConfigMap", Name: "config-br", Namespace: "knative-eventing"},
			Delivery: &manifests.Delivery{Retry: 3},
		},
		{Meta: manifests.Meta{Name: "default", Namespace: "default"}},
	}, set.Brokers)

	require.Len(t, set.Triggers, 1)
	got := set.Triggers[0]
	e := event.New()
	e.SetType("com.example")
	e.SetExtension("level", 3)
	require.Equal(t, filter.Pass, got.Filter.Filter(&e), "the list must win over the older map")
	e.SetExtension("level", 4)
	require.Equal(t, filter.Fail, got.Filter.Filter(&e))
	got.Filter = nil
	require.Equal(t, manifests.Trigger{
		Meta: manifests.Meta{
			Name: "to.door", Namespace: "plant",
			Labels: map[string]string{"app": "door"}, Annotations: map[string]string{"team": "1"},
		},
		Broker: "pool",
		Subscriber: manifests.Destination{
			Ref: &manifests.Ref{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "door", Namespace: "plant"},
			URI: "/open",
		},
		Delivery: &manifests.Delivery{
			Retry: 2, BackoffPolicy: manifests.Linear, BackoffDelay: time.Minute + 500*time.Millisecond, Timeout: 30 * time.Second,
			DeadLetterSink: &manifests.Destination{
				Ref: &manifests.Ref{APIVersion: "v1", Kind: "Service", Name: "dead", Namespace: "morgue"},
			},
		},
	}, got)
}

func TestLoad_Filters(t *testing.T) {
	t.Parallel()
	e := event.New()
	e.SetType("a")
	f := func(spec string, want filter.Verdict) {
		t.Helper()
		set, err := manifests.Load(file("m.yaml", broker+"---\n"+trigger+spec))
		require.NoError(t, err, spec)
		require.Equal(t, want, set.Triggers[0].Filter.Filter(&e), spec)
	}
	f("", filter.NoFilter)
	f("  filters: []\n", filter.NoFilter)
	f("  filters:\n", filter.NoFilter)
	f("  filter: {}\n", filter.NoFilter)
	f("  filter: {attributes: {type: a}}\n", filter.Pass)
	f("  filter: {attributes: {subject: ''}}\n", filter.Fail)
	f("  filter: {attributes: {type: b}}\n  filters: [{exact: {type: a}}]\n", filter.Pass)
	f("  filters: [{exact: {type: b}}]\n", filter.Fail)
}

// TestLoad_AcrossSystems checks that the platform's own files and a user's make
// one set.
func TestLoad_AcrossSystems(t *testing.T) {
	t.Parallel()
	set, err := manifests.Load(manifests.Files(), file("mine.yaml", trigger))
	require.NoError(t, err)
	require.Equal(t, "t", set.Triggers[len(set.Triggers)-1].Name)

	_, err = manifests.Load(manifests.Files(), file("mine.yaml", broker))
	refused(t, err, "mine.yaml", "document 1", "metadata.name")
}

// refused asserts that err is fault.Invalid and names the file, the document
// and the field.
func refused(t *testing.T, err error, name, document, field string) {
	t.Helper()
	require.Error(t, err)
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.Invalid, e.Kind)
	require.Equal(t, name, e.Name)
	require.Equal(t, field, e.Field, "%v", err)
	require.Contains(t, err.Error(), name+": "+document)
	require.Contains(t, err.Error(), field)
}

func TestLoad_Refuses(t *testing.T) {
	t.Parallel()
	f := func(text, field string) {
		t.Helper()
		set, err := manifests.Load(file("m.yaml", broker+"---\n"+text))
		require.Empty(t, set)
		refused(t, err, "m.yaml", "document 2", field)
	}
	// Shape.
	f("a: [", "")
	f("- a\n", "")
	f("a: 1\na: 2\n", "")
	f("a: 1\n", "apiVersion")
	f(strings.Replace(broker, "/v1", "/v1beta1", 1), "apiVersion")
	f(strings.Replace(broker, "Broker", "Channel", 1), "kind")
	f(trigger+"status: {}\n", "status")
	f(trigger+"  Filters: []\n", "spec.Filters")
	f(trigger+"  filters: [{exakt: {type: a}}]\n", "spec.filters[0].exakt")
	f(trigger+"  filters: [{not: {Exact: {type: a}}}]\n", "spec.filters[0].not.Exact")
	f(trigger+"  filters: [{exact: {type: 1}}]\n", "spec.filters[0].exact.type")
	f(trigger+"  filters: [a]\n", "spec.filters[0]")
	f(trigger+"  filters: {exact: {type: a}}\n", "spec.filters")
	f(strings.Replace(trigger, "{name: t}", "{name: t, annotations: {a: true}}", 1), "metadata.annotations.a")
	f(trigger+"  delivery: {retry: 1.5}\n", "spec.delivery.retry")
	f(trigger+"  delivery: {retryAfterMax: PT1S}\n", "spec.delivery.retryAfterMax")
	// Names.
	f(strings.Replace(broker, "default", "''", 1), "metadata.name")
	f(strings.Replace(broker, "default", "A", 1), "metadata.name")
	f(strings.Replace(broker, "default", "a..b", 1), "metadata.name")
	f(strings.Replace(broker, "default", strings.Repeat("a", 254), 1), "metadata.name")
	f(strings.Replace(broker, "default", "b, namespace: a.b", 1), "metadata.namespace")
	f(broker, "metadata.name")
	f(strings.Replace(trigger, "default", "''", 1), "spec.broker")
	f(strings.Replace(trigger, "default", "other", 1), "spec.broker")
	f(strings.Replace(trigger, "{name: t}", "{name: t, namespace: elsewhere}", 1), "spec.broker")
	// Filters.
	f(trigger+"  filters: [{}]\n", "spec.filters[0]")
	f(trigger+"  filters: [{exact: {type: a}}, {not: {cesql: 'a ='}}]\n", "spec.filters[1].not.cesql")
	f(trigger+"  filters: [{exact: {type: a}, prefix: {type: a}}]\n", "spec.filters[0]")
	f(trigger+"  filter: {attributes: {Type: a}}\n  filters: [{exact: {type: a}}]\n", "spec.filter.attributes")
	// Destinations.
	f(head, "spec.subscriber")
	f(head+"  subscriber: {ref: {apiVersion: v1, kind: Service}}\n", "spec.subscriber.ref.name")
	f(head+"  subscriber: {ref: {apiVersion: v1, name: a}, uri: /x}\n", "spec.subscriber.ref.kind")
	f(head+"  subscriber: {ref: {kind: Service, name: a}}\n", "spec.subscriber.ref.apiVersion")
	f(head+"  subscriber: {uri: /x}\n", "spec.subscriber.uri")
	f(head+"  subscriber: {uri: 'mailto:x'}\n", "spec.subscriber.uri")
	f(head+"  subscriber: {uri: 'http://a b/'}\n", "spec.subscriber.uri")
	f(head+"  subscriber: {ref: {apiVersion: v1, kind: S, name: a}, uri: 'http://x/'}\n", "spec.subscriber.uri")
	f(strings.Replace(broker, "default", "b", 1)+"spec: {config: {kind: ConfigMap, name: a}}\n", "spec.config.apiVersion")
	// Delivery.
	f(trigger+"  delivery: {retry: -1}\n", "spec.delivery.retry")
	f(trigger+"  delivery: {backoffPolicy: cubic}\n", "spec.delivery.backoffPolicy")
	f(trigger+"  delivery: {backoffPolicy: ''}\n", "spec.delivery.backoffPolicy")
	f(trigger+"  delivery: {backoffDelay: 5s}\n", "spec.delivery.backoffDelay")
	f(trigger+"  delivery: {backoffDelay: ''}\n", "spec.delivery.backoffDelay")
	f(trigger+"  delivery: {timeout: PT0S}\n", "spec.delivery.timeout")
	f(trigger+"  delivery: {deadLetterSink: {}}\n", "spec.delivery.deadLetterSink")
	f(strings.Replace(broker, "default", "b", 1)+"spec: {delivery: {retry: -1}}\n", "spec.delivery.retry")
}

func TestLoad_SecondObjectOfAName(t *testing.T) {
	t.Parallel()
	_, err := manifests.Load(fstest.MapFS{
		"a.yaml": {Data: []byte(broker + "---\n" + trigger)}, "b.yaml": {Data: []byte(trigger)},
	})
	refused(t, err, "b.yaml", "document 1", "metadata.name")
	require.Contains(t, err.Error(), "a.yaml, document 2")

	other := strings.Replace(broker, "{name: default}", "{name: default, namespace: other}", 1)
	_, err = manifests.Load(file("m.yaml", broker+"---\n"+other))
	require.NoError(t, err, "another namespace is another object")
}

func TestLoad_UnreadableFile(t *testing.T) {
	t.Parallel()
	_, err := manifests.Load(unreadable{fstest.MapFS{"m.yaml": {Data: []byte(broker)}}})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Equal(t, fault.Internal, fault.KindOf(err))
}

// unreadable is a system that lists its files and opens none but its folders.
type unreadable struct{ fstest.MapFS }

// ReadFile opens nothing.
func (u unreadable) ReadFile(string) ([]byte, error) { return nil, fs.ErrPermission }

// FuzzLoad feeds whole files: nothing but fault.Invalid may come back, and what
// is accepted keeps the promises of the types.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		broker, broker + "---\n" + trigger, broker + "...\n" + trigger + "  filters: [{all: [{cesql: 'a = 1'}]}]\n",
		broker + "spec: {delivery: {retry: 1, backoffPolicy: linear, backoffDelay: PT1S, timeout: PT2S}}\n", "--- |\n ---\n", "&a [*a]",
	} {
		f.Add([]byte(seed))
	}
	e := event.New()
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := manifests.Load(fstest.MapFS{"m.yaml": {Data: text}})
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		for _, trigger := range set.Triggers {
			require.NotEmpty(t, trigger.Name)
			require.NotNil(t, trigger.Filter)
			trigger.Filter.Filter(&e)
			require.True(t, trigger.Subscriber.Ref != nil || trigger.Subscriber.URI != "")
		}
	})
}
