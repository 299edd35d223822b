package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/eventing"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	knativebroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/broker/ingress"
	"knative.dev/eventing/pkg/channel"
	"knative.dev/eventing/pkg/channel/fanout"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	messaginglisters "knative.dev/eventing/pkg/client/listers/messaging/v1"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
	"knative.dev/pkg/apis"
	pkgduckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"selvedge.dev/tests/eventingtest"
)

// suiteNamespace is the namespace of the suite's triggers.
const suiteNamespace = "suite"

// shelf is an informer without a cluster behind it: who puts an object on it
// is the API server.
type shelf struct {
	cache.SharedIndexInformer
	objects cache.Indexer

	mu       sync.Mutex
	handlers []cache.ResourceEventHandler
}

// newShelf is an empty shelf.
func newShelf() *shelf {
	return &shelf{objects: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})}
}

// AddEventHandler implements cache.SharedIndexInformer.
func (s *shelf) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers = append(s.handlers, h)
	return nil, nil
}

// put adds an object, or replaces the one of its name.
func (s *shelf) put(o any) error {
	old, there, err := s.objects.Get(o)
	if err != nil {
		return err
	}
	if err := s.objects.Update(o); err != nil {
		return err
	}
	for _, h := range s.handlers {
		if there {
			h.OnUpdate(old, o)
		} else {
			h.OnAdd(o, false)
		}
	}
	return nil
}

// take removes an object.
func (s *shelf) take(o any) error {
	for _, h := range s.handlers {
		h.OnDelete(o)
	}
	return s.objects.Delete(o)
}

// brokers, triggers and subscriptions are shelves as Knative's types of them.
type (
	brokers       struct{ *shelf }
	triggers      struct{ *shelf }
	subscriptions struct{ *shelf }
)

// Informer is the shelf.
func (s brokers) Informer() cache.SharedIndexInformer { return s.shelf }

// Lister lists the shelf.
func (s brokers) Lister() eventinglisters.BrokerLister {
	return eventinglisters.NewBrokerLister(s.objects)
}

// Informer is the shelf.
func (s triggers) Informer() cache.SharedIndexInformer { return s.shelf }

// Lister lists the shelf.
func (s triggers) Lister() eventinglisters.TriggerLister {
	return eventinglisters.NewTriggerLister(s.objects)
}

// Informer is the shelf.
func (s subscriptions) Informer() cache.SharedIndexInformer { return s.shelf }

// Lister lists the shelf.
func (s subscriptions) Lister() messaginglisters.SubscriptionLister {
	return messaginglisters.NewSubscriptionLister(s.objects)
}

// theirs is Knative's multi-tenant broker over its in-memory channel, with the
// very handlers of its three programs: ingress, channel and filter. What its
// controllers do is done by Apply.
type theirs struct {
	ingressURL, filterURL string
	triggers              triggers
	channel               *fanout.FanoutEventHandler

	mu   sync.Mutex
	subs map[string]fanout.Subscription
}

// newTheirs starts Knative's broker with a broker "default".
func newTheirs(t *testing.T) *theirs {
	t.Helper()
	log, meter, tracer := zap.NewNop(), otel.GetMeterProvider(), otel.GetTracerProvider()
	same := func(ctx context.Context) context.Context { return ctx }
	b := &theirs{triggers: triggers{newShelf()}, subs: map[string]fanout.Subscription{}}
	known := brokers{newShelf()}

	var err error
	b.channel, err = fanout.NewFanoutEventHandler(log, fanout.Config{}, nil, nil, nil, kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil), meter, tracer,
		channel.ResolveChannelFromPath(channel.ParseChannelFromPath), channel.ReceiverWithContextFunc(same))
	require.NoError(t, err)
	filters, err := filter.NewHandler(log, nil, nil, b.triggers, known, subscriptions{newShelf()}, nil, same, meter, tracer)
	require.NoError(t, err)
	in, err := ingress.NewHandler(log, knativebroker.TTLDefaulter(log, 255), known, nil, nil, nil, same, meter, tracer)
	require.NoError(t, err)
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	b.ingressURL, b.filterURL = serve(in), serve(filters)

	own := &eventingv1.Broker{}
	own.Name, own.Namespace = "default", suiteNamespace
	own.Status.Annotations = map[string]string{eventing.BrokerChannelAddressStatusAnnotationKey: serve(b.channel) + "/" + suiteNamespace + "/default"}
	own.Status.Address = addressable(t, b.Ingress("default"))
	require.NoError(t, known.put(own))
	return b
}

// Ingress implements eventingtest.Broker.
func (b *theirs) Ingress(name string) string { return b.ingressURL + "/" + suiteNamespace + "/" + name }

// Apply implements eventingtest.Broker: the webhook checks and sets defaults,
// and then the trigger becomes a subscription of the channel.
func (b *theirs) Apply(ctx context.Context, manifest []byte) error {
	if err := validate("Trigger", manifest); err != nil {
		return err
	}
	doc, err := yaml.YAMLToJSON(manifest)
	if err != nil {
		return err
	}
	tr := &eventingv1.Trigger{}
	if err := json.Unmarshal(doc, tr); err != nil {
		return err
	}
	tr.SetDefaults(ctx)
	tr.UID = types.UID(tr.Name)
	tr.Status.SubscriberURI = tr.Spec.Subscriber.URI
	sub := fanout.Subscription{Name: tr.Name, Namespace: tr.Namespace, UID: tr.UID}
	if sub.Subscriber, err = addressOf(b.filterURL + path.Generate(tr)); err != nil {
		return err
	}
	reply, err := addressOf(b.Ingress("default"))
	if err != nil {
		return err
	}
	sub.Reply = &reply
	spec := duckv1.DeliverySpec{}
	if tr.Spec.Delivery != nil {
		spec = *tr.Spec.Delivery
	}
	config, err := kncloudevents.RetryConfigFromDeliverySpec(spec)
	if err != nil {
		return err
	}
	sub.RetryConfig = &config
	if spec.DeadLetterSink != nil {
		sub.DeadLetter = &pkgduckv1.Addressable{URL: spec.DeadLetterSink.URI}
	}
	if err := b.triggers.put(tr); err != nil {
		return err
	}
	b.subscribe(ctx, tr.Name, &sub)
	return nil
}

// addressOf is the address of a URL.
func addressOf(url string) (pkgduckv1.Addressable, error) {
	u, err := apis.ParseURL(url)
	return pkgduckv1.Addressable{URL: u}, err
}

// subscribe makes sub the subscription of that name, nil none.
func (b *theirs) subscribe(ctx context.Context, name string, sub *fanout.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs, name)
	if sub != nil {
		b.subs[name] = *sub
	}
	var all []fanout.Subscription
	for _, s := range b.subs {
		all = append(all, s)
	}
	b.channel.SetSubscriptions(ctx, all)
}

// Delete implements eventingtest.Broker.
func (b *theirs) Delete(ctx context.Context, name string) error {
	tr, there, err := b.triggers.objects.GetByKey(suiteNamespace + "/" + name)
	if err != nil || !there {
		return fmt.Errorf("trigger %s is not there: %w", name, err)
	}
	b.subscribe(ctx, name, nil)
	return b.triggers.take(tr)
}

// TestSuite_OnKnativesOwnBroker runs the suite of our broker against Knative's:
// each case must hold there too, and each difference must be one.
func TestSuite_OnKnativesOwnBroker(t *testing.T) {
	b := newTheirs(t)
	t.Run("suite", func(t *testing.T) {
		eventingtest.Run(t, eventingtest.Options{Broker: b, Namespace: suiteNamespace, Knative: true})
	})
}
