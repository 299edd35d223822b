package edgeruntime

import (
	"context"
	"log/slog"
	"sync"
	"time"

	ingestv1 "selvedge.dev/functions/ingest/v1"
)

// link is what the uplink found the way to the platform to be like. Safe for
// concurrent use.
type link struct {
	now func() time.Time
	log *slog.Logger

	mu        sync.Mutex
	state     State
	since     time.Time
	problem   string
	delivered uint64
}

// newLink is a link that nothing is known of.
func newLink(now func() time.Time, log *slog.Logger) *link {
	return &link{now: now, log: log, state: StateStarting, since: now()}
}

// delivering says that events have been settled.
func (l *link) delivering() { l.enter(StateDelivering, slog.LevelInfo, nil) }

// retrying says that err stands in the way for now.
func (l *link) retrying(err error) { l.enter(StateRetrying, slog.LevelWarn, err) }

// denied says that the key is refused.
func (l *link) denied(err error) { l.enter(StateDenied, slog.LevelError, err) }

// enter enters the state, and logs it if it is another one.
func (l *link) enter(s State, level slog.Level, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = ""
	attrs := []slog.Attr{slog.String("state", string(s))}
	if why != nil {
		l.problem = why.Error()
		attrs = append(attrs, slog.Any("error", why))
	}
	if l.state != s {
		l.state, l.since = s, l.now()
		l.log.LogAttrs(context.Background(), level, "uplink changed state", attrs...)
	}
}

// count adds those of the verdicts that say that the platform has the event.
func (l *link) count(verdicts []verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range verdicts {
		if v.Status != ingestv1.StatusRejected {
			l.delivered++
		}
	}
}

// fill sets what the link knows in s.
func (l *link) fill(s *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.State, s.Since, s.Problem, s.Delivered = l.state, l.since, l.problem, l.delivered
}
