package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	duckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/eventing"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"

	"selvedge.dev/triggers/manifests"
)

// object is what Knative's Broker and Trigger have in common.
type object interface {
	apis.Defaultable
	apis.Validatable
}

// validate reads one document of the kind as Knative's webhook does: unknown
// fields are refused, then defaults are set, then the object is checked.
func validate(kind string, text []byte) error {
	doc, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	var o object
	switch kind {
	case "Broker":
		o = &eventingv1.Broker{}
	case "Trigger":
		o = &eventingv1.Trigger{}
	default:
		return fmt.Errorf("kind %s", kind)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(o); err != nil {
		return err
	}
	ctx := feature.ToContext(context.Background(), feature.Flags{feature.DeliveryTimeout: feature.Enabled})
	if b, ok := o.(*eventingv1.Broker); ok && b.Annotations[eventing.BrokerClassKey] == "" {
		// The default of a cluster is in a ConfigMap.
		b.Annotations = map[string]string{eventing.BrokerClassKey: eventing.MTChannelBrokerClassValue}
	}
	o.SetDefaults(ctx)
	if fe := o.Validate(ctx); fe != nil {
		return fe
	}
	return nil
}

// TestManifests_Ours puts our own YAML through Knative's types and webhook.
func TestManifests_Ours(t *testing.T) {
	t.Parallel()
	paths, err := fs.Glob(manifests.Files(), "*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		text, err := fs.ReadFile(manifests.Files(), path)
		require.NoError(t, err)
		var head struct{ Kind string }
		require.NoError(t, yaml.Unmarshal(text, &head))
		require.NoError(t, validate(head.Kind, text), path)
	}
}

// The reasons why we refuse a manifest that Knative's webhook accepts, or the
// other way round.
const (
	noBroker  = "Knative has the trigger wait for a broker; here the set of files is all there is"
	partRef   = "Knative leaves a ref unchecked when a uri stands beside it"
	backwards = "a pause before a retry cannot be negative"
	calendar  = "months and years have no length; Knative takes averages"
	weeks     = "weeks are left out as years and months are: days say the same"
	commas    = "a comma is not what Knative's own documents write"
	fraction  = "Knative reads fractions of minutes and hours; here only seconds have one"
	shortZero = "Knative writes zero as P0, too; here a duration names its unit"
	tenths    = "Knative keeps one digit of a fraction and drops the rest"
)

// TestManifests_Table compares what is accepted and refused: the spec of a
// trigger with the broker "default", or of a broker. An entry with a reason is
// a difference, and must be one.
func TestManifests_Table(t *testing.T) {
	t.Parallel()
	const uri, ref = `uri: 'http://example.com/'`, `ref: {apiVersion: v1, kind: Service, name: a}`
	refusals := 0
	f := func(kind, spec, why string) {
		t.Helper()
		head := "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n---\n"
		text := fmt.Sprintf("apiVersion: eventing.knative.dev/v1\nkind: %s\nmetadata: {name: x, namespace: default}\nspec: %s\n", kind, spec)
		theirs := validate(kind, []byte(text))
		_, our := manifests.Load(fstest.MapFS{"m.yaml": {Data: []byte(head + text)}})
		require.Equal(t, why != "", (theirs == nil) != (our == nil), "%s %s: Knative: %v; we: %v", kind, spec, theirs, our)
		if our != nil {
			refusals++
		}
	}
	trigger := func(rest, why string) { t.Helper(); f("Trigger", "{broker: default, "+rest+"}", why) }
	deliver := func(delivery, why string) {
		t.Helper()
		trigger("subscriber: {"+uri+"}, delivery: {"+delivery+"}", why)
		f("Broker", "{delivery: {"+delivery+"}}", why)
	}

	f("Broker", "{}", "")
	f("Broker", "{config: {apiVersion: v1, kind: ConfigMap, name: a, namespace: b}}", "")
	f("Broker", "{config: {kind: ConfigMap, name: a}}", "")
	f("Broker", "{config: {apiVersion: v1, kind: ConfigMap}}", "")
	f("Broker", "{nosuch: 1}", "")

	trigger("subscriber: {"+uri+"}", "")
	trigger("subscriber: {"+ref+"}", "")
	trigger("subscriber: {"+ref+", uri: /x}", "")
	trigger("subscriber: {"+ref+", "+uri+"}", "")
	trigger("subscriber: {}", "")
	trigger("subscriber: {uri: /x}", "")
	trigger("subscriber: {uri: 'mailto:a'}", "")
	trigger("subscriber: {ref: {apiVersion: v1, kind: Service}}", "")
	trigger("subscriber: {ref: {apiVersion: v1, name: a}}", "")
	trigger("subscriber: {ref: {kind: Service, name: a}}", "")
	trigger("subscriber: {ref: {kind: Service}, uri: /x}", partRef)
	trigger("filters: []", "")
	f("Trigger", "{subscriber: {"+uri+"}}", "")
	f("Trigger", "{broker: other, subscriber: {"+uri+"}}", noBroker)

	trigger("subscriber: {"+uri+"}, filters: [{exact: {type: a}}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{exact: {Type: a}}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{exact: {type: a}, prefix: {type: a}}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{exact: {type: 1}}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{exakt: {type: a}}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{cesql: 'a ='}]", "")
	trigger("subscriber: {"+uri+"}, filters: [{}]", empty)
	trigger("subscriber: {"+uri+"}, filter: {attributes: {type: ''}}", "")
	trigger("subscriber: {"+uri+"}, filter: {attributes: {Type: a}}", "")

	deliver("retry: 0", "")
	deliver("retry: 5, backoffPolicy: exponential, backoffDelay: PT0.2S", "")
	deliver("retry: -1", "")
	deliver("retry: 1.5", "")
	deliver("retry: 2147483648", "")
	deliver("backoffPolicy: linear", "")
	deliver("backoffPolicy: cubic", "")
	deliver("backoffPolicy: ''", "")
	deliver("backoffPolicy: Linear", "")
	deliver("backoffDelay: 5s", "")
	deliver("backoffDelay: ''", "")
	deliver("backoffDelay: PT", "")
	deliver("backoffDelay: -PT1S", backwards)
	deliver("timeout: PT1S", "")
	deliver("timeout: PT0S", "")
	deliver("timeout: PT0.05S", tenths)
	deliver("retryAfterMax: PT1S", "")
	deliver("deadLetterSink: {"+ref+"}", "")
	deliver("deadLetterSink: {}", "")
	require.Greater(t, refusals, 30)
}

// knativeDuration is the duration as Knative's delivery counts with it.
func knativeDuration(text string) (time.Duration, error) {
	policy := duckv1.BackoffPolicyLinear
	spec := duckv1.DeliverySpec{BackoffPolicy: &policy, BackoffDelay: &text}
	if fe := spec.Validate(context.Background()); fe != nil {
		return 0, errors.New(fe.Error())
	}
	config, err := kncloudevents.RetryConfigFromDeliverySpec(spec)
	if err != nil {
		return 0, err
	}
	return config.Backoff(1, nil), nil
}

// TestDurations_Table compares ISO 8601 durations. An entry with a reason is a
// difference, and must be one.
func TestDurations_Table(t *testing.T) {
	t.Parallel()
	f := func(text, why string) {
		t.Helper()
		theirs, theirErr := knativeDuration(text)
		our, ourErr := manifests.ParseDuration(text)
		same := theirs == our && (theirErr == nil) == (ourErr == nil)
		require.Equal(t, why == "", same, "%q: Knative: %s, %v; we: %s, %v", text, theirs, theirErr, our, ourErr)
	}
	for _, text := range []string{
		"PT0S", "P0D", "PT0.2S", "PT1S", "PT5.0S", "PT60S", "PT90M", "PT1H30M", "P1D", "P1DT2H3M4.5S", "PT3000S",
		"", "P", "PT", "5", "5s", "5S", "PT5", "PTS", "T5S", "pt5s", "PT5s", "P5S", "PT5D", "PT5S1M", "PT5X", "PT 5S",
	} {
		f(text, "")
	}
	f("P0", shortZero)
	f("PT0.25S", tenths)
	f("PT0.05S", tenths)
	f("PT1.2.3S", tenths)
	f("PT1.5M", fraction)
	f("PT1,5S", commas)
	f("P1W", weeks)
	f("P1M", calendar)
	f("P1Y", calendar)
	f("-PT1S", backwards)
}
