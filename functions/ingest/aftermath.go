package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/rest"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
)

// The permissions of what is behind the broker.
const (
	getDeadLetters    = "triggers.deadLetters.get"
	listDeadLetters   = "triggers.deadLetters.list"
	replayDeadLetters = "triggers.deadLetters.replay"
	getTraces         = "triggers.traces.get"
)

// Aftermath is the door to what became of events: their trace, and the dead
// letters, which can be replayed.
//
//	GET  /v1/projects/P/events/ID:trace?source=
//	GET  /v1/projects/P/deadLetters?trigger=&startTime=&pageSize=&pageToken=
//	GET  /v1/projects/P/deadLetters/ID
//	POST /v1/projects/P/deadLetters:replay
//
// A trigger is named by its name in the project or, one of the platform's, by
// that; "PROJECT/NAME" is the former for sure.
type Aftermath struct {
	// Broker has it all.
	Broker *broker.Broker
	// Authorize says whether the caller of r has a permission in a project; nil
	// decides by what he is alone.
	Authorize func(r *http.Request, project, permission string) error
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Routes adds the door to r.
func (s *Aftermath) Routes(r chi.Router) {
	r.Get("/v1/projects/{project}/events/{event}", rest.Handler(s.Logger, s.trace))
	r.Get("/v1/projects/{project}/deadLetters", rest.Handler(s.Logger, s.list))
	r.Get("/v1/projects/{project}/deadLetters/{letter}", rest.Handler(s.Logger, s.get))
	r.Post("/v1/projects/{project}/deadLetters:replay", rest.Handler(s.Logger, s.replay))
}

// allowed is the project of the request, if the caller has the permission there
// and there can be such a project.
func (s *Aftermath) allowed(r *http.Request, permission string) (string, error) {
	project := chi.URLParam(r, "project")
	authorize := s.Authorize
	if authorize == nil {
		authorize = iam.Authorize
	}
	if err := authorize(r, project, permission); err != nil {
		return "", err
	}
	if _, err := resource.Project.Format(project); err != nil {
		return "", err
	}
	return project, nil
}

// refused is the fault of a parameter or field.
func refused(field, format string, args ...any) error {
	return &fault.Error{Op: "ingest.Aftermath", Kind: fault.Invalid, Reason: "INVALID_PARAMETER", Field: field, Err: fmt.Errorf(format, args...)}
}

// letter is a dead letter as it is shown.
type letter struct {
	ID      string `json:"id"`
	Trigger string `json:"trigger"`
	Broker  string `json:"broker"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"`
	// Status and Body are of the last answer.
	Status    int       `json:"status"`
	Body      string    `json:"body,omitempty"`
	Attempts  int       `json:"attempts"`
	Replays   int       `json:"replays"`
	FirstTime time.Time `json:"firstTime"`
	LastTime  time.Time `json:"lastTime"`
	// EventID, Source, Type and Size are of the event, which is whole only in
	// the answer about one letter.
	EventID string       `json:"eventId"`
	Source  string       `json:"source"`
	Type    string       `json:"type"`
	Size    int          `json:"dataBytes"`
	Event   *event.Event `json:"event,omitempty"`
}

// letterOf is how l is shown.
func letterOf(l *deadletters.Letter) letter {
	return letter{
		ID: strconv.FormatInt(l.ID, 10), Trigger: l.Trigger, Broker: l.Broker, Reason: l.Reason, Detail: l.Detail, Status: l.Status, Body: string(l.Body),
		Attempts: l.Attempts, Replays: l.Replays, FirstTime: l.First, LastTime: l.Last,
		EventID: l.Event.ID(), Source: l.Event.Source(), Type: l.Event.Type(), Size: len(l.Event.DataEncoded),
	}
}

// letterList is the answer of list.
type letterList struct {
	DeadLetters   []letter          `json:"deadLetters"`
	NextPageToken string            `json:"nextPageToken,omitempty"`
	Usage         deadletters.Usage `json:"usage"`
}

// list handles GET /v1/projects/P/deadLetters.
func (s *Aftermath) list(r *http.Request) (any, error) {
	project, err := s.allowed(r, listDeadLetters)
	if err != nil {
		return nil, err
	}
	params := r.URL.Query()
	for name, values := range params {
		if !slices.Contains([]string{"trigger", "startTime", "pageSize", "pageToken"}, name) || len(values) > 1 {
			return nil, refused(name, "the parameter %q does not exist, or is there twice", name)
		}
	}
	page, err := rest.PageOf(r)
	if err != nil {
		return nil, err
	}
	q := deadletters.Query{Project: project, Limit: page.Size + 1}
	if page.After != "" {
		if q.Before, err = strconv.ParseInt(page.After, 10, 64); err != nil {
			return nil, rest.InvalidToken()
		}
	}
	if t := params.Get("trigger"); t != "" {
		q.Trigger = s.Broker.TriggerID(project, t)
	}
	if q.Since, err = since(params.Get("startTime")); err != nil {
		return nil, err
	}
	letters, err := s.Broker.DeadLetters().List(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := letterList{DeadLetters: []letter{}}
	letters, out.NextPageToken = rest.Cut(page, letters, func(l deadletters.Letter) string { return strconv.FormatInt(l.ID, 10) })
	for i := range letters {
		out.DeadLetters = append(out.DeadLetters, letterOf(&letters[i]))
	}
	out.Usage, err = s.Broker.DeadLetters().Usage(r.Context(), project)
	return out, err
}

// since reads a time, "" is the zero one.
func since(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, refused("startTime", "startTime is %q, not a time like 2026-06-01T12:00:00Z", text)
	}
	return t, nil
}

// get handles GET /v1/projects/P/deadLetters/ID.
func (s *Aftermath) get(r *http.Request) (any, error) {
	project, err := s.allowed(r, getDeadLetters)
	if err != nil {
		return nil, err
	}
	id, err := letterID(chi.URLParam(r, "letter"))
	if err != nil {
		return nil, err
	}
	l, err := s.Broker.DeadLetters().Get(r.Context(), project, id)
	if err != nil {
		return nil, err
	}
	out := letterOf(&l)
	out.Event = &l.Event
	return out, nil
}

// letterID reads the id of a letter.
func letterID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, refused("id", "%q is not the id of a dead letter", text)
	}
	return id, nil
}

// replayRequest is the body of replay: the letters by id, or those of a trigger.
type replayRequest struct {
	IDs     []string `json:"ids"`
	Trigger string   `json:"trigger"`
	// StartTime selects the letters that were given up then or later.
	StartTime string `json:"startTime"`
	// To is another trigger of the project that is to get them.
	To string `json:"to"`
}

// replayed is the answer of replay.
type replayed struct {
	Replayed int `json:"replayed"`
}

// The bounds of a replay.
const (
	maxReplayIDs = 1000
	replayPage   = 256
)

// replay handles POST /v1/projects/P/deadLetters:replay.
func (s *Aftermath) replay(r *http.Request) (any, error) {
	project, err := s.allowed(r, replayDeadLetters)
	if err != nil {
		return nil, err
	}
	var q replayRequest
	if err := rest.Decode(r, &q); err != nil {
		return nil, err
	}
	if q.To != "" {
		q.To = s.Broker.TriggerID(project, q.To)
	}
	switch {
	case (len(q.IDs) == 0) == (q.Trigger == ""):
		return nil, refused("ids", "say which letters: their ids, or a trigger")
	case len(q.IDs) > maxReplayIDs:
		return nil, refused("ids", "there are %d ids, more than %d", len(q.IDs), maxReplayIDs)
	case len(q.IDs) > 0 && q.StartTime != "":
		return nil, refused("startTime", "startTime selects letters of a trigger")
	case len(q.IDs) > 0:
		return s.replayIDs(r.Context(), project, q)
	}
	return s.replayAll(r.Context(), project, q)
}

// replayIDs replays the letters that a request names.
func (s *Aftermath) replayIDs(ctx context.Context, project string, q replayRequest) (any, error) {
	var done replayed
	for _, text := range q.IDs {
		id, err := letterID(text)
		if err != nil {
			return nil, err
		}
		l, err := s.Broker.DeadLetters().Get(ctx, project, id)
		if err == nil {
			_, err = s.Broker.Replay(ctx, []deadletters.Letter{l}, q.To)
		}
		if err != nil {
			return nil, partly(done.Replayed, err)
		}
		done.Replayed++
	}
	return done, nil
}

// replayAll replays the letters of a trigger that there are now, the newest
// first: those that come back while it goes on are newer.
func (s *Aftermath) replayAll(ctx context.Context, project string, q replayRequest) (any, error) {
	from, err := since(q.StartTime)
	if err != nil {
		return nil, err
	}
	var done replayed
	list := deadletters.Query{Project: project, Trigger: s.Broker.TriggerID(project, q.Trigger), Since: from, Limit: replayPage}
	for {
		letters, err := s.Broker.DeadLetters().List(ctx, list)
		if err != nil {
			return nil, partly(done.Replayed, err)
		}
		if len(letters) == 0 {
			return done, nil
		}
		list.Before = letters[len(letters)-1].ID
		n, err := s.Broker.Replay(ctx, letters, q.To)
		done.Replayed += n
		if err != nil {
			return nil, partly(done.Replayed, err)
		}
	}
}

// partly is err after n letters that are on their way.
func partly(n int, err error) error {
	var f *fault.Error
	if n == 0 || !errors.As(err, &f) {
		return err
	}
	said := *f
	said.Err = fmt.Errorf("after %d letters, which are on their way: %s", n, f.Message())
	return &said
}
