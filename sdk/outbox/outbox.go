// Package outbox is what a function that sends things out of the platform
// remembers: what it sent, so that an event that comes again is not sent again;
// how much for which project lately; and what it holds back for a digest. It is
// a file, and what a method returned without error is on disk.
//
// What was sent is remembered after it was. A crash between the two sends it
// again: nothing that is not ours can be in one transaction with us. All methods
// may be called concurrently.
package outbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// schema are the tables. Times are Unix milliseconds.
const schema = `
CREATE TABLE IF NOT EXISTS sent (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_at ON sent (at);
CREATE TABLE IF NOT EXISTS held (
	n INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL UNIQUE, due INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS held_key ON held (project, key, n);
CREATE INDEX IF NOT EXISTS held_due ON held (due);
`

const (
	// keep is how long it is remembered that something was sent: longer than any
	// broker delivers again.
	keep = 7 * 24 * time.Hour
	// look is how often a digest that is due is looked for.
	look = time.Second
	// maxHeld bounds the items of one digest. One that is full is due.
	maxHeld = 500
	// maxAll bounds the items of all digests.
	maxAll = 100_000
	// firstPause and lastPause are the pauses before a digest is tried again, and
	// giveUp is for how long.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
	giveUp     = 24 * time.Hour
)

// Options configure an Outbox.
type Options struct {
	// Dir is the folder of its file.
	Dir string
	// Rate is how many are sent for one project in a minute, and how many at
	// once after a pause; 0 is no bound.
	Rate int
	// Logger is told of digests that are given up; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Counts is what became of everything since the outbox was opened.
type Counts struct {
	// Sent was sent, Duplicate was sent before, Limited was too much for its
	// project at the time, Refused will never be taken, Failed may be the next
	// time, and Held waits for its digest or did.
	Sent      int64 `json:"sent"`
	Duplicate int64 `json:"duplicate"`
	Limited   int64 `json:"limited"`
	Refused   int64 `json:"refused"`
	Failed    int64 `json:"failed"`
	Held      int64 `json:"held"`
}

// Outbox is an open outbox.
type Outbox struct {
	o  Options
	db *sql.DB
	// limits are of projects.
	mu     sync.Mutex
	limits map[string]*bucket
	swept  time.Time
	// tried is when digests that failed are tried again.
	tried map[string]retry

	sent, duplicate, limited, refused, failed, held atomic.Int64
}

// retry is when something is tried again.
type retry struct {
	first, next time.Time
	pause       time.Duration
}

// bucket is what a project may still send: left at a time.
type bucket struct {
	left float64
	at   time.Time
}

// Open opens the outbox in a folder, or makes it.
func Open(ctx context.Context, o Options) (*Outbox, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	db, err := sqlite.Open(ctx, filepath.Join(o.Dir, "outbox.db"), schema)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return &Outbox{o: o, db: db, limits: map[string]*bucket{}, tried: map[string]retry{}}, nil
}

// Close closes the file.
func (x *Outbox) Close() error { return x.db.Close() }

// Counts returns the counts.
func (x *Outbox) Counts() Counts {
	return Counts{x.sent.Load(), x.duplicate.Load(), x.limited.Load(), x.refused.Load(), x.failed.Load(), x.held.Load()}
}

// ID is what something is remembered by: 32 hexadecimal digits that follow from
// the parts. Whoever makes it of the same parts has the same.
func ID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Once sends what has the id, unless it was sent. It is Exhausted, with the
// reason RATE_LIMITED, when the project has sent too much lately, and otherwise
// what send returns.
func (x *Outbox) Once(ctx context.Context, project, id string, send func(ctx context.Context) error) error {
	var n int
	if err := x.db.QueryRowContext(ctx, "SELECT count(*) FROM sent WHERE id = ?", id).Scan(&n); err != nil {
		return unavailable("reading what was sent", err)
	}
	if n > 0 {
		x.duplicate.Add(1)
		return nil
	}
	if wait := x.take(project); wait > 0 {
		x.limited.Add(1)
		return &fault.Error{
			Op: "outbox.Once", Name: "projects/" + project, Kind: fault.Exhausted, Reason: "RATE_LIMITED",
			Err: fmt.Errorf("the project sends more than %d in a minute; the next one in %s", x.o.Rate, wait.Round(time.Second)),
		}
	}
	if err := send(ctx); err != nil {
		if permanent(err) {
			x.refused.Add(1)
		} else {
			x.failed.Add(1)
			x.giveBack(project)
		}
		return err
	}
	x.sent.Add(1)
	// It is sent: that it is remembered must not depend on who waits for it.
	ctx = context.WithoutCancel(ctx)
	if _, err := x.db.ExecContext(ctx, "INSERT OR IGNORE INTO sent VALUES (?, ?)", id, x.o.Now().UnixMilli()); err != nil {
		return unavailable("noting what was sent", err)
	}
	x.sweep(ctx)
	return nil
}

// permanent reports whether it is of no use to try again.
func permanent(err error) bool { return !fault.Retried(fault.KindOf(err).EventStatus()) }

// unavailable is the fault of a file that fails.
func unavailable(doing string, err error) error {
	return &fault.Error{Op: "outbox", Kind: fault.Unavailable, Reason: "OUTBOX_FAILED", Err: fmt.Errorf("%s: %w", doing, err)}
}

// take takes one of what a project may send, and says how long it has to wait
// otherwise.
func (x *Outbox) take(project string) time.Duration {
	if x.o.Rate <= 0 {
		return 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	rate, now := float64(x.o.Rate), x.o.Now()
	b := x.limits[project]
	if b == nil {
		if len(x.limits) >= 10_000 { // a minute from now they are full anyway
			clear(x.limits)
		}
		b = &bucket{rate, now}
		x.limits[project] = b
	}
	b.left, b.at = min(rate, b.left+max(now.Sub(b.at).Minutes(), 0)*rate), now
	if b.left < 1 {
		return time.Duration((1 - b.left) / rate * float64(time.Minute))
	}
	b.left--
	return 0
}

// giveBack gives back what was not sent.
func (x *Outbox) giveBack(project string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.limits[project]; b != nil {
		b.left++
	}
}

// sweep forgets what was sent long ago, now and then.
func (x *Outbox) sweep(ctx context.Context) {
	x.mu.Lock()
	now := x.o.Now()
	due := now.Sub(x.swept) >= time.Hour
	if due {
		x.swept = now
	}
	x.mu.Unlock()
	if !due {
		return
	}
	if _, err := x.db.ExecContext(ctx, "DELETE FROM sent WHERE at < ?", now.Add(-keep).UnixMilli()); err != nil {
		x.o.Logger.WarnContext(ctx, "what was sent long ago is not forgotten", slog.Any("error", err))
	}
}

// Item is something that is held back for a digest.
type Item struct {
	// Project and Key say of which digest it is, ID which item.
	Project, Key, ID string
	// Body is what the digest is made of.
	Body []byte
}

// Hold holds an item back for its digest, which is due so long after its first
// item. An item that is held, or was sent in a digest, is not held again.
func (x *Outbox) Hold(ctx context.Context, item Item, window time.Duration) (err error) {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return unavailable("holding", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	var known, n, all int
	var due sql.NullInt64
	row := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sent WHERE id = ?1) + (SELECT count(*) FROM held WHERE id = ?1), count(*), min(due),
		(SELECT coalesce(max(n) - min(n), 0) FROM held)
		FROM held WHERE project = ?2 AND key = ?3`, item.ID, item.Project, item.Key)
	if err := row.Scan(&known, &n, &due, &all); err != nil {
		return unavailable("holding", err)
	}
	if known > 0 {
		x.duplicate.Add(1)
		return tx.Rollback()
	}
	if all >= maxAll {
		return &fault.Error{Op: "outbox.Hold", Name: "projects/" + item.Project, Kind: fault.Exhausted, Reason: "TOO_MANY_HELD", Err: fmt.Errorf("%d items wait for their digests", maxAll)}
	}
	at := x.o.Now().Add(window).UnixMilli()
	if due.Valid {
		at = due.Int64
	}
	if n+1 >= maxHeld {
		at = 0
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO held (project, key, id, due, body) VALUES (?, ?, ?, ?, ?)", item.Project, item.Key, item.ID, at, item.Body); err != nil {
		return unavailable("holding", err)
	}
	if err := tx.Commit(); err != nil {
		return unavailable("holding", err)
	}
	x.held.Add(1)
	return nil
}

// Run sends digests when they are due, until ctx ends: see Flush.
func (x *Outbox) Run(ctx context.Context, send func(ctx context.Context, id string, items []Item) error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if err := x.Flush(ctx, send); err != nil && ctx.Err() == nil {
			x.o.Logger.WarnContext(ctx, "digests wait", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Flush sends the digests that are due. The id of a digest follows from its
// first item. One that fails is tried again, for a day, unless it will never be
// taken: then it is given up, which the counts and the log say.
func (x *Outbox) Flush(ctx context.Context, send func(ctx context.Context, id string, items []Item) error) error {
	now := x.o.Now()
	rows, err := x.db.QueryContext(ctx, "SELECT DISTINCT project, key FROM held WHERE due <= ?", now.UnixMilli())
	if err != nil {
		return unavailable("reading digests", err)
	}
	var due []Item
	for rows.Next() {
		var i Item
		if err := rows.Scan(&i.Project, &i.Key); err != nil {
			return errors.Join(unavailable("reading digests", err), rows.Close())
		}
		due = append(due, i)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return unavailable("reading digests", err)
	}
	var errs []error
	for _, d := range due {
		errs = append(errs, x.flush(ctx, d.Project, d.Key, send))
	}
	return errors.Join(errs...)
}

// flush sends one digest, if it is not to wait after a failure.
func (x *Outbox) flush(ctx context.Context, project, key string, send func(ctx context.Context, id string, items []Item) error) error {
	group, now := project+"\x00"+key, x.o.Now()
	x.mu.Lock()
	again, failed := x.tried[group]
	x.mu.Unlock()
	if failed && now.Before(again.next) {
		return nil
	}
	items, last, err := x.items(ctx, project, key)
	if err != nil || len(items) == 0 {
		return err
	}
	id := ID("digest", items[0].ID)
	err = x.Once(ctx, project, id, func(ctx context.Context) error { return send(ctx, id, items) })
	if err != nil {
		if !failed {
			again = retry{first: now, pause: firstPause / 2}
		}
		again.pause = min(2*again.pause, lastPause)
		again.next = now.Add(again.pause)
		limited := fault.ReasonOf(err) == "RATE_LIMITED"
		if (!permanent(err) || limited) && now.Sub(again.first) < giveUp {
			x.mu.Lock()
			x.tried[group] = again
			x.mu.Unlock()
			return fmt.Errorf("digest %q of project %s: %w", key, project, err)
		}
		x.o.Logger.ErrorContext(ctx, "a digest is given up", slog.String("project", project), slog.String("key", key), slog.Int("items", len(items)), slog.Any("error", err))
	}
	x.mu.Lock()
	delete(x.tried, group)
	x.mu.Unlock()
	return x.drop(context.WithoutCancel(ctx), project, key, last)
}

// items are what is held for a digest, as much as it takes, and the number of
// the last of them.
func (x *Outbox) items(ctx context.Context, project, key string) (items []Item, last int64, err error) {
	rows, err := x.db.QueryContext(ctx, "SELECT n, id, body FROM held WHERE project = ? AND key = ? ORDER BY n LIMIT ?", project, key, maxHeld)
	if err != nil {
		return nil, 0, unavailable("reading a digest", err)
	}
	for rows.Next() {
		i := Item{Project: project, Key: key}
		if err := rows.Scan(&last, &i.ID, &i.Body); err != nil {
			return nil, 0, errors.Join(unavailable("reading a digest", err), rows.Close())
		}
		items = append(items, i)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, 0, unavailable("reading a digest", err)
	}
	return items, last, nil
}

// drop forgets the items of a digest that was sent, and remembers that they were.
func (x *Outbox) drop(ctx context.Context, project, key string, last int64) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return unavailable("noting a digest", err)
	}
	const these = " FROM held WHERE project = ? AND key = ? AND n <= ?"
	_, err = tx.ExecContext(ctx, "INSERT OR IGNORE INTO sent SELECT id, ?"+these, x.o.Now().UnixMilli(), project, key, last)
	if err == nil {
		_, err = tx.ExecContext(ctx, "DELETE"+these, project, key, last)
	}
	if err != nil {
		return errors.Join(unavailable("noting a digest", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return unavailable("noting a digest", err)
	}
	return nil
}
