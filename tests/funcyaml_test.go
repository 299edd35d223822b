package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/manifests"
)

// project is what a func.yaml says that a trigger says too.
type project struct {
	SpecVersion string `json:"specVersion"`
	Name        string `json:"name"`
	Runtime     string `json:"runtime"`
	Invoke      string `json:"invoke"`
	Deploy      struct {
		Subscriptions []struct {
			Source  string            `json:"source"`
			Filters map[string]string `json:"filters"`
		} `json:"subscriptions"`
	} `json:"deploy"`
}

// TestFuncYAML_SaysWhatTheTriggersSay holds every func.yaml against the trigger
// manifests: what a function subscribes to on a cluster by `func deploy` is
// what it gets on one machine.
func TestFuncYAML_SaysWhatTheTriggersSay(t *testing.T) {
	t.Parallel()
	set, err := manifests.Load(manifests.Files())
	require.NoError(t, err)
	files, err := filepath.Glob("../functions/*/func.yaml")
	require.NoError(t, err)
	subscribed := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var p project
		require.NoError(t, yaml.Unmarshal(text, &p), file)
		require.Equal(t, filepath.Base(filepath.Dir(file)), p.Name, file)
		require.Equal(t, "go", p.Runtime, file)
		require.Equal(t, "http", p.Invoke, file)
		for _, s := range p.Deploy.Subscriptions {
			subscribed[p.Name]++
			require.Contains(t, triggersOf(t, set, p.Name, s.Source), fmt.Sprint(s.Filters), file)
		}
	}
	for _, tr := range set.Triggers {
		require.Positive(t, subscribed[tr.Subscriber.Ref.Name], "the func.yaml of %s has no subscription for the trigger %s", tr.Subscriber.Ref.Name, tr.Name)
	}
}

// triggersOf are the attributes that the triggers of a function match exactly.
// They are found by asking the filters, as the manifests do not keep them.
func triggersOf(t *testing.T, set manifests.Set, function, broker string) []string {
	t.Helper()
	var found []string
	for _, tr := range set.Triggers {
		if tr.Broker != broker || tr.Subscriber.Ref.Name != function {
			continue
		}
		for _, attributes := range []map[string]string{
			{event.Route: event.RouteProcessor}, {event.Route: event.RouteWriter}, {"type": event.TypeAlert},
		} {
			e := event.New()
			e.SetType("none")
			for name, value := range attributes {
				if name == "type" {
					e.SetType(value)
				} else {
					e.SetExtension(name, value)
				}
			}
			if tr.Filter.Filter(&e) == filter.Pass {
				found = append(found, fmt.Sprint(attributes))
			}
		}
	}
	return found
}
