package platform

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// How the stored events of earlier releases are moved: so many at once, each time
// durably, and after an error again after a pause.
const (
	alertBatch = 1000
	alertRetry = 10 * time.Second
)

// alertsDoor is the stream of the ledger that events are counted in that are not
// moved.
const alertsDoor = "logging-upgrade"

// alerts are the stored events, alerts among them, of a release that had them in
// tables of platform.db. Now they are entries of logs.
type alerts struct {
	db   *sql.DB
	put  func(ctx context.Context, project string, events []event.Event) ([]error, error)
	lost func(project, door, reason string, n int)
	log  *slog.Logger
	// retry is how long it waits after an error.
	retry time.Duration
}

// move moves all that there are into the logs, and removes the tables, unless ctx
// ends before: then it goes on at the next start.
func (a *alerts) move(ctx context.Context) {
	moved := 0
	for ctx.Err() == nil {
		n, err := a.step(ctx)
		moved += n
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.WarnContext(ctx, "stored events of an earlier release are not moved yet", slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(a.retry):
			}
		case err == nil && n == 0:
			if moved > 0 {
				a.log.InfoContext(ctx, "stored events of an earlier release are entries of logs now", slog.Int("events", moved))
			}
			return
		}
	}
}

// step moves the next ones and returns how many; after the last ones it removes
// the tables. What was moved and not yet removed when the platform was killed is moved again,
// and has the same insert ids.
func (a *alerts) step(ctx context.Context) (int, error) {
	var tables int
	if err := a.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'logstore_events'`).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	type line struct{ project, reason string }
	refused := map[line]int{}
	refuse := func(project string, err error) {
		if err != nil {
			refused[line{project, fault.ReasonOf(err)}]++
		}
	}
	events, n, last, err := a.read(ctx, refuse)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		_, err := a.db.ExecContext(ctx, `DROP TABLE logstore_events; DROP TABLE IF EXISTS logstore_projects`)
		return 0, err
	}
	for project, of := range events {
		verdicts, err := a.put(ctx, project, of)
		if err != nil {
			return 0, fmt.Errorf("write events of project %s: %w", project, err)
		}
		for _, err := range verdicts {
			refuse(project, err)
		}
	}
	if _, err = a.db.ExecContext(ctx, `DELETE FROM logstore_events WHERE seq <= ?`, last); err != nil {
		return 0, err
	}
	for of, n := range refused { // they do not come again
		a.lost(of.project, alertsDoor, of.reason, n)
	}
	return n, nil
}

// read reads the next events, by project; n is how many there are, with those that
// cannot be read and are refused, and last the number of the last one.
func (a *alerts) read(ctx context.Context, refuse func(project string, err error)) (events map[string][]event.Event, n int, last int64, err error) {
	rows, err := a.db.QueryContext(ctx, `SELECT seq, project, body FROM logstore_events ORDER BY seq LIMIT ?`, alertBatch)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	events = map[string][]event.Event{}
	for rows.Next() {
		var project string
		var body []byte
		if err := rows.Scan(&last, &project, &body); err != nil {
			return nil, 0, 0, err
		}
		n++
		e, err := event.FromJSON(body)
		if err != nil {
			refuse(project, err)
			continue
		}
		events[project] = append(events[project], e)
	}
	return events, n, last, rows.Err()
}
