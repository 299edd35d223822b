package manifests_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/manifests"
)

// routed is an event on its way to route.
func routed(route string) *event.Event {
	e := event.New()
	e.SetType("com.example.climate")
	e.SetExtension(event.Route, route)
	return &e
}

// TestFiles_MatchTheSDK holds the YAML of this folder to the constants that the
// functions are written with.
func TestFiles_MatchTheSDK(t *testing.T) {
	t.Parallel()
	set, err := manifests.Load(manifests.Files())
	require.NoError(t, err)

	require.Equal(t, []manifests.Broker{{
		Meta: manifests.Meta{Name: "default", Namespace: "default"},
		Delivery: &manifests.Delivery{
			Retry: 5, BackoffPolicy: manifests.Exponential, BackoffDelay: 200 * time.Millisecond,
		},
	}}, set.Brokers)

	alert := event.New()
	alert.SetType(event.TypeAlert)
	typed := func(t string) *event.Event {
		e := event.New()
		e.SetType(t)
		return &e
	}
	events := map[string]*event.Event{
		"processor": routed(event.RouteProcessor), "writer": routed(event.RouteWriter), "alert": &alert, "timer": typed("dev.selvedge.timer.set.v1"), "log": typed("dev.selvedge.log.v1"), "email": typed("dev.selvedge.email.v1"), "sms": typed("dev.selvedge.sms.v1"),
		"run": typed("dev.selvedge.reason.run.v1"), "script": routed("reason.x"), "other": routed("elsewhere"),
	}
	want := map[string]struct{ service, event string }{
		"processor": {"processor", "processor"},
		"writer":    {"writer", "writer"},
		"threshold": {"threshold", "writer"},
		"alerts":    {"logging", "alert"},
		"logs":      {"logging", "log"},
		"timers":    {"scheduler", "timer"},
		// Mail and telephones are not ours, and may be away for longer.
		"emailer":    {"emailer", "email"},
		"messenger":  {"messenger", "sms"},
		"reason":     {"reason", "script"},
		"reason-run": {"reason", "run"},
	}
	require.Len(t, set.Triggers, len(want))
	for _, trigger := range set.Triggers {
		expected, known := want[trigger.Name]
		require.True(t, known, trigger.Name)
		require.Equal(t, "default", trigger.Broker)
		if expected.event == "email" || expected.event == "sms" {
			require.Equal(t, &manifests.Delivery{Retry: 12, BackoffPolicy: manifests.Exponential, BackoffDelay: time.Second}, trigger.Delivery)
		} else {
			require.Nil(t, trigger.Delivery, "the broker's delivery is meant to hold")
		}
		require.Equal(t, manifests.Destination{Ref: &manifests.Ref{
			APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: expected.service, Namespace: "default",
		}}, trigger.Subscriber)
		for name, e := range events {
			verdict := map[bool]filter.Verdict{true: filter.Pass, false: filter.Fail}[name == expected.event]
			require.Equal(t, verdict, trigger.Filter.Filter(e), "trigger %s, event %s", trigger.Name, name)
		}
	}
}

// TestFiles_NameFunctions checks that every subscriber is a function: a folder
// under functions, or one of those that the pipeline cannot do without.
func TestFiles_NameFunctions(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"processor": true, "writer": true, "threshold": true, "logging": true}
	entries, err := os.ReadDir(filepath.Join("..", "..", "functions"))
	require.NoError(t, err)
	for _, entry := range entries {
		known[entry.Name()] = known[entry.Name()] || entry.IsDir()
	}
	set, err := manifests.Load(manifests.Files())
	require.NoError(t, err)
	for _, trigger := range set.Triggers {
		require.True(t, known[trigger.Subscriber.Ref.Name], trigger.Subscriber.Ref.Name)
	}
}
