package command

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"selvedge.dev/triggers/broker"
)

// eventsTrace is `selvedge events trace`.
func (a *app) eventsTrace() *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "trace ID", Short: "What every trigger made of an event and of the replies to it, and why", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			if source != "" {
				q.Set("source", source)
			}
			var tr broker.Trace
			path := "/v1/projects/" + a.project + "/events/" + url.PathEscape(args[0]) + ":trace"
			if err := a.client().Call(c.Context(), http.MethodGet, path, q, nil, &tr); err != nil {
				return err
			}
			return a.print(tr, func(w io.Writer) { traceTable(w, &tr) })
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the event's source, if events of several have the id")
	return cmd
}

// traceTable writes a trace: a line for each trigger, below it one for each
// attempt.
func traceTable(w io.Writer, tr *broker.Trace) {
	row(w, "EVENT", "TIME", "TRIGGER", "STATE", "STATUS", "DURATION", "WHY")
	for _, e := range tr.Events {
		row(w, e.ID, e.ArrivalTime.Format(time.RFC3339Nano), e.RepliedBy, eventState(e), "", "", origin(e))
		for _, t := range e.Triggers {
			row(w, "", "", t.Trigger, t.State, "", "", triggerWhy(t))
			for _, at := range t.Attempts {
				what := fmt.Sprint("attempt ", at.Number)
				if at.DeadLetterSink {
					what = fmt.Sprint("dead letter ", at.Number)
				}
				row(w, "", at.Time.Format(time.RFC3339Nano), what, at.Outcome, at.Status, at.Duration.Round(10*time.Microsecond), at.Answer)
			}
		}
	}
	if tr.Truncated {
		row(w, "...")
	}
}

// eventState is the state of a traced event by itself.
func eventState(e broker.TracedEvent) string {
	switch {
	case e.Unrouted:
		return "UNROUTED"
	case e.Forgotten:
		return "FORGOTTEN"
	}
	return ""
}

// origin says where a traced event came from and what it is.
func origin(e broker.TracedEvent) string {
	text := e.Type + " from " + e.Source
	if e.Broker != broker.DefaultBroker {
		text += ", broker " + e.Broker
	}
	if e.ReplayedTo != "" {
		text += ", replayed"
	}
	return text
}

// triggerWhy says in one line why a trigger took an event or not, and what is
// to come.
func triggerWhy(t broker.TracedTrigger) string {
	parts := t.Why
	if t.NextAttempt != nil {
		parts = append(parts, "next attempt "+t.NextAttempt.Format(time.RFC3339Nano))
	}
	for _, id := range t.Replies {
		parts = append(parts, "replied "+id)
	}
	if t.DeadLetter != "" {
		parts = append(parts, "dead letter "+t.DeadLetter)
	}
	return strings.Join(parts, "; ")
}
