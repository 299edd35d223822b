package command

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// deadLetter is a dead letter as the platform shows it.
type deadLetter struct {
	ID        string    `json:"id"`
	Trigger   string    `json:"trigger"`
	Broker    string    `json:"broker"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail,omitempty"`
	Status    int       `json:"status"`
	Body      string    `json:"body,omitempty"`
	Attempts  int       `json:"attempts"`
	Replays   int       `json:"replays"`
	FirstTime time.Time `json:"firstTime"`
	LastTime  time.Time `json:"lastTime"`
	EventID   string    `json:"eventId"`
	Source    string    `json:"source"`
	Type      string    `json:"type"`
	Size      int       `json:"dataBytes"`
	Event     any       `json:"event,omitempty"`
}

// lettersPath is where the dead letters of the project are.
func (a *app) lettersPath() string { return "/v1/projects/" + a.project + "/deadLetters" }

// eventsDeadLetters is `selvedge events dead-letters`.
func (a *app) eventsDeadLetters() *cobra.Command {
	var trigger string
	var since time.Duration
	cmd := &cobra.Command{
		Use: "dead-letters [ID]", Short: "List the events that triggers gave up, newest first, or show one", Args: noneOr("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.showDeadLetter(c, args[0])
			}
			q := url.Values{}
			if trigger != "" {
				q.Set("trigger", trigger)
			}
			if since > 0 {
				q.Set("startTime", time.Now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			all, err := pages[deadLetter](c.Context(), a.client(), a.lettersPath(), "deadLetters", q)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				row(w, "ID", "TIME", "TRIGGER", "EVENT", "TYPE", "STATUS", "ATTEMPTS", "REPLAYS", "REASON")
				for _, l := range all {
					row(w, l.ID, l.LastTime.Format(time.RFC3339), l.Trigger, l.EventID, l.Type, l.Status, l.Attempts, l.Replays, l.Reason)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&trigger, "trigger", "", "only of this trigger")
	f.DurationVar(&since, "since", 0, "only given up since that long ago, such as 1h")
	return cmd
}

// noneOr takes no argument, or that one.
func noneOr(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return exactly(name)(c, args)
	}
}

// showDeadLetter shows one dead letter, with its event.
func (a *app) showDeadLetter(c *cobra.Command, id string) error {
	var l deadLetter
	if err := a.client().Call(c.Context(), http.MethodGet, a.lettersPath()+"/"+url.PathEscape(id), nil, nil, &l); err != nil {
		return err
	}
	if a.output == "table" { // an event has no columns
		a.output = "yaml"
	}
	return a.print(l, nil)
}

// eventsReplay is `selvedge events replay`.
func (a *app) eventsReplay() *cobra.Command {
	var trigger, to string
	var since time.Duration
	cmd := &cobra.Command{
		Use: "replay [ID ...]", Short: "Have dead letters delivered again, to the trigger that gave them up",
		Example: `  selvedge events replay 17
  selvedge events replay --trigger climate --since 2h`,
		RunE: func(c *cobra.Command, ids []string) error {
			body := map[string]any{}
			switch {
			case (len(ids) == 0) == (trigger == ""):
				return usageError{errors.New("say which dead letters: their ids, or --trigger")}
			case len(ids) > 0 && since > 0:
				return usageError{errors.New("--since goes with --trigger")}
			case len(ids) > 0:
				body["ids"] = ids
			default:
				body["trigger"] = trigger
				if since > 0 {
					body["startTime"] = time.Now().Add(-since).UTC().Format(time.RFC3339Nano)
				}
			}
			if to != "" {
				body["to"] = to
			}
			var answer struct {
				Replayed int `json:"replayed"`
			}
			if err := a.client().Call(c.Context(), http.MethodPost, a.lettersPath()+":replay", nil, body, &answer); err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) {
				row(w, "REPLAYED")
				row(w, answer.Replayed)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&trigger, "trigger", "", "all that this trigger gave up")
	f.StringVar(&to, "to", "", "another trigger of the project to deliver to")
	f.DurationVar(&since, "since", 0, "with --trigger, only those given up since that long ago, such as 1h")
	return cmd
}
