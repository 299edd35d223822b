package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/local/snapshot"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// createSnapshot is the permission to copy all that the platform keeps of
// metrics. It is of no project, so that only administrators have it.
const createSnapshot = "platform.snapshots.create"

// snapshotDirs are the folders of snapshots that are being made, in the data
// folder.
const snapshotDirs = "snapshot-*"

// snapshots is the door for snapshots.
type snapshots struct {
	p *Platform
	// mu is held while one is made.
	mu sync.Mutex
}

// Routes implements gateway.Service.
//
//	POST /v1/snapshots    answers with an archive; see local/snapshot
func (s *snapshots) Routes(r chi.Router) { r.Post("/v1/snapshots", s.create) }

// snapshotIdle bounds how long a client may take nothing of an archive.
const snapshotIdle = 2 * time.Minute

// create answers POST /v1/snapshots. An error in the middle breaks the
// connection, so that nobody takes a part for the whole.
func (s *snapshots) create(w http.ResponseWriter, r *http.Request) {
	if err := s.p.access.Authorize(r, "", createSnapshot); err != nil {
		fault.Write(w, err)
		return
	}
	if !s.mu.TryLock() {
		fault.Write(w, &fault.Error{Op: "platform.snapshot", Kind: fault.Exhausted, Reason: "SNAPSHOT_BUSY", Err: errors.New("another snapshot is being made")})
		return
	}
	defer s.mu.Unlock()
	dir, m, err := s.p.snapshot(r.Context())
	if err == nil {
		w.Header().Set("Content-Type", "application/x-tar")
		w.Header().Set("Content-Disposition", `attachment; filename="selvedge.tar"`)
		err = errors.Join(snapshot.Write(r.Context(), patientWriter{w}, dir, m), os.RemoveAll(dir))
		if err == nil {
			return
		}
		s.p.log.ErrorContext(r.Context(), "snapshot not written", slog.Any("error", err))
		panic(http.ErrAbortHandler) // the way to break a connection
	}
	s.p.log.ErrorContext(r.Context(), "snapshot not made", slog.Any("error", err))
	fault.Write(w, err)
}

// patientWriter gives the client time as long as it takes something.
type patientWriter struct{ w http.ResponseWriter }

// Write implements io.Writer.
func (p patientWriter) Write(b []byte) (int, error) {
	_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(snapshotIdle)) // a connection without deadlines needs none
	return p.w.Write(b)
}

// snapshot puts what is kept of metrics into a folder of the data folder, which
// the caller removes. First comes what was acknowledged and is on its way, then
// the series, and then the database: so every point has its descriptor.
func (p *Platform) snapshot(ctx context.Context) (dir string, m snapshot.Manifest, err error) {
	waiting, cancel := context.WithTimeout(ctx, snapshotSettle)
	defer cancel()
	if err := p.settle(waiting); err != nil {
		return "", m, &fault.Error{Op: "platform.snapshot", Kind: fault.Unavailable, Reason: "EVENTS_PENDING", Err: fmt.Errorf("wait for events on their way: %w", err)}
	}
	if dir, err = os.MkdirTemp(p.config.Data, snapshotDirs); err != nil {
		return "", m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	m.Time = time.Now().UTC()
	err = p.rollups.Copy(ctx, func() error { return p.copySeries(ctx, dir, &m) }, func() error {
		if _, err := p.db.ExecContext(ctx, `VACUUM INTO ?`, filepath.Join(dir, "platform.db")); err != nil {
			return fmt.Errorf("copy the database: %w", err)
		}
		return nil
	})
	return dir, m, err
}

// copySeries copies the series into a folder, or has their server do it.
func (p *Platform) copySeries(ctx context.Context, dir string, m *snapshot.Manifest) (err error) {
	switch store := p.series.(type) {
	case tsdb.Snapshotter:
		err = store.Snapshot(ctx, filepath.Join(dir, "series"))
	case interface {
		ServerSnapshot(context.Context) (string, error)
	}:
		m.Server, err = store.ServerSnapshot(ctx)
	default:
		err = &fault.Error{Op: "platform.snapshot", Kind: fault.Unsupported, Err: errors.New("the storage makes no snapshots")}
	}
	return err
}

// snapshotSettle bounds how long a snapshot waits for events on their way.
const snapshotSettle = 30 * time.Second

// removeSnapshots removes what an earlier process did not live to remove.
func (p *Platform) removeSnapshots() error {
	left, err := filepath.Glob(filepath.Join(p.config.Data, snapshotDirs))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
