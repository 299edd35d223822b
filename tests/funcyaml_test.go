package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	emailerv1 "selvedge.dev/functions/emailer/v1"
	loggingv1 "selvedge.dev/functions/logging/v1"
	messengerv1 "selvedge.dev/functions/messenger/v1"
	reasonv1 "selvedge.dev/functions/reason/v1"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/manifests"
)

// project is what a func.yaml says that the code, or a trigger, says too.
type project struct {
	SpecVersion string `json:"specVersion"`
	Name        string `json:"name"`
	Runtime     string `json:"runtime"`
	Invoke      string `json:"invoke"`
	Run         struct {
		Envs []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"envs"`
	} `json:"run"`
	Deploy struct {
		Options struct {
			Scale     struct{ Min, Max *int } `json:"scale"`
			Resources struct {
				Requests struct{ CPU, Memory string } `json:"requests"`
				Limits   struct{ Memory string }      `json:"limits"`
			} `json:"resources"`
		} `json:"options"`
		HealthEndpoints struct{ Readiness, Liveness string } `json:"healthEndpoints"`
		Subscriptions   []struct {
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
	subscribed := map[string]int{}
	for file, p := range projects(t) {
		for _, s := range p.Deploy.Subscriptions {
			subscribed[p.Name]++
			require.Contains(t, triggersOf(t, set, p.Name, s.Source), fmt.Sprint(s.Filters), file)
		}
	}
	for _, tr := range set.Triggers {
		require.Positive(t, subscribed[tr.Subscriber.Ref.Name], "the func.yaml of %s has no subscription for the trigger %s", tr.Subscriber.Ref.Name, tr.Name)
	}
}

// projects are the func.yaml of every function, by their paths.
func projects(t *testing.T) map[string]project {
	t.Helper()
	files, err := filepath.Glob("../functions/*/func.yaml")
	require.NoError(t, err)
	all := map[string]project{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var p project
		require.NoError(t, yaml.Unmarshal(text, &p), file)
		all[file] = p
	}
	return all
}

// TestFuncYAML_OrTheReasonWhyNot holds that every folder of functions is either
// deployed by func or in the table of docs/functions.md that says why not, and
// which says nothing else.
func TestFuncYAML_OrTheReasonWhyNot(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/functions.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(text), "\n| part | why |\n")
	require.True(t, ok)
	parts := map[string]bool{}
	for line := range strings.Lines(table) {
		part, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(part, ", ") {
			parts[name] = true
		}
	}
	folders, err := os.ReadDir("../functions")
	require.NoError(t, err)
	for _, f := range folders {
		_, err := os.Stat(filepath.Join("../functions", f.Name(), "func.yaml"))
		require.NotEqual(t, err == nil, parts[f.Name()], "functions/%s has a func.yaml or a reason in docs/functions.md, and not both", f.Name())
		delete(parts, f.Name())
	}
	for part := range parts {
		require.Contains(t, part, "the ", "docs/functions.md: functions/%s is no folder", part)
	}
}

// TestFuncYAML_SaysWhatTheCodeSays holds every func.yaml against the function:
// what it is, what it reads of its environment, where it says how it is, and
// that it is bounded.
func TestFuncYAML_SaysWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	for file, p := range projects(t) {
		require.Equal(t, filepath.Base(filepath.Dir(file)), p.Name, file)
		require.Equal(t, "go", p.Runtime, file)
		require.Equal(t, "http", p.Invoke, file)
		require.Equal(t, function.ReadinessPath, p.Deploy.HealthEndpoints.Readiness, file)
		require.Equal(t, function.LivenessPath, p.Deploy.HealthEndpoints.Liveness, file)
		o := p.Deploy.Options
		require.NotNil(t, o.Scale.Min, file)
		require.NotNil(t, o.Scale.Max, file)
		require.LessOrEqual(t, *o.Scale.Min, *o.Scale.Max, file)
		require.Positive(t, *o.Scale.Max, "%s: 0 is no bound", file)
		require.NotContains(t, []string{o.Resources.Requests.CPU, o.Resources.Requests.Memory, o.Resources.Limits.Memory}, "", file)
		sources, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.go"))
		require.NoError(t, err)
		var code strings.Builder
		for i := 0; i < len(sources); i++ {
			text, err := os.ReadFile(sources[i])
			require.NoError(t, err)
			code.Write(text)
			for by, file := range map[string]string{"reader.Host(": "../tsdb/reader/reader.go", "member.Start(": "../sdk/member/member.go"} {
				if filepath.Base(sources[i]) == "function.go" && bytes.Contains(text, []byte(by)) {
					sources = append(sources, file) // which reads it for the function
				}
			}
		}
		var unread []string
		for _, e := range p.Run.Envs {
			if !strings.Contains(code.String(), fmt.Sprintf("%q", e.Name)) {
				unread = append(unread, e.Name)
			}
		}
		require.Empty(t, unread, "%s sets what the function does not read", file)
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
			{event.Route: event.RouteProcessor},
			{event.Route: event.RouteWriter},
			{"type": event.TypeAlert},
			{"type": loggingv1.TypeLog},
			{"type": schedulerv1.TypeSetTimer},
			{"type": emailerv1.TypeEmail},
			{"type": messengerv1.TypeSMS},
			{event.Route: reasonv1.Route},
			{"type": reasonv1.TypeRun},
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
