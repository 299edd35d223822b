// Package spec is what the kinds of serving.knative.dev/v1 look like here:
// their fields, what is filled in, what is refused, and what kubectl prints. It
// follows Knative's own webhook, in its words, and refuses by name each field
// that means nothing on one machine. It keeps no state.
package spec

import (
	"selvedge.dev/local/cluster/object"
)

// Group is the group of Knative Serving, and the begin of its labels.
const Group = "serving.knative.dev"

// The kinds.
var (
	Service       = object.Key{Group: Group, Name: "Service"}
	Configuration = object.Key{Group: Group, Name: "Configuration"}
	Revision      = object.Key{Group: Group, Name: "Revision"}
	Route         = object.Key{Group: Group, Name: "Route"}
	Pod           = object.Key{Name: "Pod"}
	Deployment    = object.Key{Group: "apps", Name: "Deployment"}
)

// The labels and annotations that Knative and its tools look at.
const (
	ServiceLabel       = Group + "/service"
	ServiceUIDLabel    = Group + "/serviceUID"
	ConfigurationLabel = Group + "/configuration"
	ConfigurationUID   = Group + "/configurationUID"
	GenerationLabel    = Group + "/configurationGeneration"
	RevisionLabel      = Group + "/revision"
	RevisionUIDLabel   = Group + "/revisionUID"
	RouteLabel         = Group + "/route"
	RoutingStateLabel  = Group + "/routingState"

	RoutesAnnotation       = Group + "/routes"
	StateChangedAnnotation = Group + "/routingStateModified"
	CreatorAnnotation      = Group + "/creator"
	ModifierAnnotation     = Group + "/lastModifier"
	PreservedAnnotation    = Group + "/no-gc"
	deadlineAnnotation     = Group + "/progress-deadline"
	rolloutAnnotation      = Group + "/rollout-duration"
)

// UserContainer is the name of the container of a function.
const UserContainer = "user-container"

// Kinds are the kinds that Serving adds to the cluster.
func Kinds() []*object.Kind {
	ready := func(what string) func(object.Object) any {
		return func(o object.Object) any {
			c := o.Condition("Ready")
			if what == "reason" {
				return c.Reason
			}
			return c.Status
		}
	}
	text := func(path ...string) func(object.Object) any {
		return func(o object.Object) any { return o.Text(path...) }
	}
	number := func(path ...string) func(object.Object) any {
		return func(o object.Object) any { return o.Int(path...) }
	}
	url := object.Column{Name: "URL", Type: "string", Of: text("status", "url")}
	created := object.Column{Name: "LatestCreated", Type: "string", Of: text("status", "latestCreatedRevisionName")}
	latest := object.Column{Name: "LatestReady", Type: "string", Of: text("status", "latestReadyRevisionName")}
	isReady := object.Column{Name: "Ready", Type: "string", Of: ready("status")}
	reason := object.Column{Name: "Reason", Type: "string", Of: ready("reason")}
	all := []string{"all", "knative", "serving"}
	return []*object.Kind{
		{
			Group: Group, Version: "v1", Name: "Service", Plural: "services", Singular: "service", Short: []string{"kservice", "ksvc"},
			Categories: all, Status: true, Columns: []object.Column{url, created, latest, isReady, reason}, Admit: admitService,
		},
		{
			Group: Group, Version: "v1", Name: "Configuration", Plural: "configurations", Singular: "configuration", Short: []string{"config", "cfg"},
			Categories: all, Status: true, Columns: []object.Column{created, latest, isReady, reason}, Admit: admitConfiguration,
		},
		{
			Group: Group, Version: "v1", Name: "Revision", Plural: "revisions", Singular: "revision", Short: []string{"rev"},
			Categories: all, Status: true, Admit: admitRevision,
			Columns: []object.Column{
				{Name: "Config Name", Type: "string", Of: text("metadata", "labels", ConfigurationLabel)},
				{Name: "Generation", Type: "string", Of: text("metadata", "labels", GenerationLabel)},
				isReady, reason,
				{Name: "Actual Replicas", Type: "integer", Of: number("status", "actualReplicas")},
				{Name: "Desired Replicas", Type: "integer", Of: number("status", "desiredReplicas")},
			},
		},
		{
			Group: Group, Version: "v1", Name: "Route", Plural: "routes", Singular: "route", Short: []string{"rt"},
			Categories: all, Status: true, Columns: []object.Column{url, isReady, reason}, Admit: admitRoute,
		},
		podKind(), deploymentKind(),
	}
}
