package scheduler

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// setBy is the annotation of a timer that an event set: which.
const setBy = "scheduler.selvedge.dev/set-by"

// markOf is what set a timer, "" for a person.
func markOf(t *schedulerv1.Timer) string { return t.GetMetadata().GetAnnotations()[setBy] }

// maxPosted is how many events are published at once.
const maxPosted = 1_000

// post publishes the events of timers.
func (s *Service) post(ctx context.Context, firings []*firing, now time.Time) error {
	var events []event.Event
	for _, f := range firings {
		for _, x := range f.slots {
			e, err := eventOf(f.timer, x, now)
			if err != nil {
				return err
			}
			if events = append(events, e); len(events) == maxPosted {
				if err := s.publish(ctx, events); err != nil {
					return err
				}
				events = nil
			}
		}
	}
	if len(events) == 0 {
		return nil
	}
	return s.publish(ctx, events)
}

// publish makes events durable. One that the broker does not want keeps no other
// from it: it is left out, which is logged, and its timer goes on.
func (s *Service) publish(ctx context.Context, events []event.Event) error {
	copies := make([]event.Event, len(events)) // they are the broker's from now on
	for i := range events {
		copies[i] = event.Clone(&events[i])
	}
	err := s.options.Publish(ctx, copies)
	if err == nil || passes(err) {
		return err
	}
	for _, e := range events {
		switch err := s.options.Publish(ctx, []event.Event{e}); {
		case err == nil:
		case passes(err):
			return err
		default:
			s.log.ErrorContext(ctx, "an event of a timer is left out", slog.String("source", e.Source()), slog.String("id", e.ID()), slog.Any("error", err))
		}
	}
	return nil
}

// passes reports whether an error of the broker is about its state, and not about
// an event.
func passes(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Unavailable || kind == fault.Exhausted
}

// eventOf is the event of a slot. Its id follows from the slot, and from this
// life of the timer's name, or from the event that set it: whoever makes it
// again makes the same.
func eventOf(t *schedulerv1.Timer, x slot, now time.Time) (event.Event, error) {
	e := event.New()
	from, life := t.GetEvent(), t.GetMetadata().GetUid()
	if mark := markOf(t); mark != "" {
		life = mark
	}
	at := x.at.UTC().Format(time.RFC3339Nano)
	e.SetID(life + "-" + at)
	e.SetSource(event.Source(t.GetName()))
	if ping := from.GetPingSource(); ping != "" {
		e.SetSource(ping)
	}
	e.SetType(from.GetType())
	if from.GetSubject() != "" {
		e.SetSubject(from.GetSubject())
	}
	e.SetTime(now)
	for name, value := range from.GetExtensions() {
		e.SetExtension(name, value)
	}
	e.SetExtension(event.Project, resource.Name(t.GetName()).Project())
	e.SetExtension(schedulerv1.Slot, at)
	if x.missed > 0 {
		e.SetExtension(schedulerv1.MissedSlots, strconv.Itoa(x.missed))
	}
	content := from.GetDataContentType()
	if content == "" {
		content = "application/json"
	}
	switch c := from.GetContent().(type) {
	case *schedulerv1.TimerEvent_Data:
		err := e.SetData(content, []byte(c.Data))
		e.DataBase64 = false // it is text
		return e, err
	case *schedulerv1.TimerEvent_DataBase64:
		return e, e.SetData(content, c.DataBase64)
	}
	return e, nil
}
