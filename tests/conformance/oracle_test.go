package conformance

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/attributes"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
)

// outcome is what a side makes of a filter and an event: a verdict, in the
// words of our package, or one of the words below.
type outcome string

const (
	// refused is a filter that was not accepted.
	refused outcome = "refused"
	// panics is an accepted filter that panicked on the event.
	panics outcome = "panics"
)

// knative is a filters list as Knative handles it: the webhook accepts or
// refuses it, and the broker builds it.
type knative struct {
	refused bool
	built   eventfilter.Filter
}

// newKnative hands specs to Knative by way of JSON, so that the field names are
// compared too.
func newKnative(t testing.TB, specs []filter.Spec) knative {
	t.Helper()
	text, err := json.Marshal(specs)
	require.NoError(t, err)
	var theirs []eventingv1.SubscriptionsAPIFilter
	require.NoError(t, json.Unmarshal(text, &theirs))
	if eventingv1.ValidateSubscriptionAPIFiltersList(context.Background(), theirs) != nil {
		return knative{refused: true}
	}
	return knative{built: subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), theirs)}
}

// on is the outcome for one event.
func (k knative) on(e *event.Event) (o outcome) {
	if k.refused {
		return refused
	}
	defer func() {
		if recover() != nil {
			o = panics
		}
	}()
	return verdict(k.built.Filter(context.Background(), *e))
}

// close stops the goroutines that Knative's filters start.
func (k knative) close() {
	// The filter of an empty not has nothing to clean up and panics over it.
	defer func() { _ = recover() }()
	if k.built != nil {
		k.built.Cleanup()
	}
}

// verdict is Knative's verdict in our words.
func verdict(r eventfilter.FilterResult) outcome {
	switch r {
	case eventfilter.PassFilter:
		return "Pass"
	case eventfilter.FailFilter:
		return "Fail"
	default:
		return "NoFilter"
	}
}

// ours is a filters list as we handle it.
type ours struct {
	err   error
	built filter.Filter
}

// newOurs parses specs.
func newOurs(specs []filter.Spec) ours {
	built, err := filter.ParseAll(specs)
	return ours{err, built}
}

// on is the outcome for one event.
func (o ours) on(e *event.Event) outcome {
	if o.err != nil {
		return refused
	}
	return outcome(o.built.Filter(e).String())
}

// attributesOutcomes are the outcomes of the older filter.attributes map.
func attributesOutcomes(entries map[string]string, e *event.Event) (theirs, our outcome) {
	built, err := filter.ParseAttributes(entries)
	our = ours{err, built}.on(e)
	if eventingv1.ValidateAttributesNames(entries) != nil {
		return refused, our
	}
	return verdict(attributes.NewAttributesFilter(entries).Filter(context.Background(), *e)), our
}

// parseSpecs reads a filters list in JSON.
func parseSpecs(t testing.TB, text string) []filter.Spec {
	t.Helper()
	var specs []filter.Spec
	require.NoError(t, json.Unmarshal([]byte(text), &specs), text)
	return specs
}
