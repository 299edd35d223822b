package eventingtest

// Difference is a case in which a broker is meant to do something else than
// Knative's own does.
type Difference struct {
	// Case is the name of the case that shows it.
	Case string
	// Knative and Here are what happens.
	Knative, Here string
	// Why is the reason.
	Why string
}

// Differences are all of them. docs/events.md has them as a table.
func Differences() []Difference {
	return []Difference{
		{"ingress takes events of 0.3", "202", "400", "one version of CloudEvents on every door; 0.3 was superseded in 2019"},
		{"ingress answers when the event is safe", "after delivery, retries and dead letter, with 500 when all failed", "202 once the event is on disk", "a publisher must not wait for subscribers, nor lose what a restart forgets"},
		{"ingress drops duplicates", "delivered again", "delivered once, inside the window", "a publisher whose answer was lost may post again"},
		{"ingress sets its own attributes", "passed on", "attributes that begin with `selvedge` are replaced by the platform's", "they say whose an event is, and functions post what they were given"},
	}
}

// ClusterDifferences are the cases in which Knative's broker on a cluster does
// something else than its own handlers in a test, which Options.Cluster is for. Knative
// is what the handlers do, Here what the cluster does.
func ClusterDifferences() []Difference {
	return []Difference{
		{"reply that is no event", "a dead letter says 502", "a dead letter says nothing of why", "the filter answers 502 without the body by which the channel, which knows the filter by its host name there, would tell the answers of subscribers"},
	}
}

// either is what is expected: the first of Knative's own broker, the second
// here.
func either[T any](s *Suite, knative, here T) T {
	if s.Knative {
		return knative
	}
	return here
}
