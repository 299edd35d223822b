package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// events is `selvedge events`.
func (a *app) events() *cobra.Command {
	return group("events", "Post events, read stored ones, see what became of them", a.eventsSend(), a.eventsList(), a.eventsTrace(), a.eventsDeadLetters(), a.eventsReplay())
}

// eventsSend is `selvedge events send`.
func (a *app) eventsSend() *cobra.Command {
	var typ, device, source, id, data string
	cmd := &cobra.Command{
		Use: "send", Short: "Post one event, as a device would", Args: exactly(),
		Example: `  selvedge events send --device pump-1 --type com.example.climate --data '{"temperature": 21.5}'`,
		RunE: func(c *cobra.Command, _ []string) error {
			e := event.New()
			if device != "" {
				name, err := a.name(resource.Device, device)
				if err != nil {
					return err
				}
				source = event.Source(string(name))
			}
			if source == "" {
				return usageError{errors.New("say whose event it is: --device or --source")}
			}
			if id == "" {
				id = uuid.NewString()
			}
			if !json.Valid([]byte(data)) {
				return usageError{errors.New("--data is not JSON")}
			}
			e.SetID(id)
			e.SetSource(source)
			e.SetType(typ)
			e.SetTime(time.Now())
			e.SetDataContentType("application/json")
			e.DataEncoded = []byte(data)
			if err := e.Validate(); err != nil {
				return usageError{err}
			}
			return a.post(c, e)
		},
	}
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "the event's type, such as com.example.climate")
	f.StringVar(&device, "device", "", "the device that it comes from")
	f.StringVar(&source, "source", "", "the event's source, if that is no device of ours")
	f.StringVar(&id, "id", "", "the event's id; a new one by default")
	f.StringVar(&data, "data", "{}", "the event's data, JSON")
	return cmd
}

// post posts e in structured mode and says what became of it.
func (a *app) post(c *cobra.Command, e event.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	cl := a.client()
	req, err := http.NewRequestWithContext(c.Context(), http.MethodPost, cl.URL+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", event.MediaStructured)
	req.Header.Set("Authorization", "Bearer "+cl.Key)
	resp, err := cl.HTTP.Do(req)
	if err != nil {
		return &fault.Error{Op: "post event", Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it is wanted
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return fmt.Errorf("post event: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return fault.Parse("post event", resp.StatusCode, answer)
	}
	verdict := map[string]string{"id": e.ID(), "source": e.Source(), "status": resp.Header.Get(ingestv1.VerdictHeader)}
	return a.print(verdict, func(w io.Writer) {
		row(w, "ID", "SOURCE", "STATUS")
		row(w, verdict["id"], verdict["source"], verdict["status"])
	})
}

// eventsList is `selvedge events list`.
func (a *app) eventsList() *cobra.Command {
	var typ, source, subject string
	var since time.Duration
	cmd := &cobra.Command{
		Use: "list", Short: "List the stored events of a project, alerts among them, newest first", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, v := range map[string]string{"type": typ, "source": source, "subject": subject} {
				if v != "" {
					q.Set(name, v)
				}
			}
			if since > 0 {
				q.Set("startTime", time.Now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			all, err := pages[event.Event](c.Context(), a.client(), "/v1/projects/"+a.project+"/events", "events", q)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) {
				row(w, "TIME", "TYPE", "SUBJECT", "DATA")
				for _, e := range all {
					row(w, e.Time().Format(time.RFC3339), e.Type(), e.Subject(), string(e.Data()))
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "only of this type")
	f.StringVar(&source, "source", "", "only from this source")
	f.StringVar(&subject, "subject", "", "only about this subject")
	f.DurationVar(&since, "since", 0, "only since that long ago, such as 1h")
	return cmd
}
