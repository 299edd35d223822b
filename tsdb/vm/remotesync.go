package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// syncTries is how many snapshots Sync makes before it gives up, and
	// syncPause how long it waits after each: longer in total than the five
	// seconds after which the server writes a part to a file by itself.
	syncTries = 12
	syncPause = 500 * time.Millisecond
)

// Sync implements tsdb.Store; see Remote for what it promises. Concurrent calls
// share the work, and when nothing was appended there is none.
func (r *Remote) Sync(ctx context.Context) error {
	const op = "tsdb/vm.Remote.Sync"
	if err := r.use(op); err != nil {
		return err
	}
	defer r.users.Done()
	if err := r.advance(ctx, r.durable, 0, r.persist); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// persist makes snapshots until nothing is in the server's memory only; see
// Store.persist.
func (r *Remote) persist(ctx context.Context) error {
	for range syncTries {
		if err := r.reveal(ctx); err != nil {
			return err
		}
		if err := r.snapshot(ctx); err != nil {
			return err
		}
		inMemory, err := r.inMemory(ctx)
		if err != nil || !inMemory {
			return err
		}
		pause := time.NewTimer(syncPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
	return unavailable("/snapshot/create", fmt.Errorf("after %d snapshots the server still has samples in memory only", syncTries))
}

// snapshot makes a snapshot and removes it.
func (r *Remote) snapshot(ctx context.Context) error {
	name, err := r.createSnapshot(ctx)
	if err != nil {
		return err
	}
	_, err = r.call(ctx, http.MethodGet, "/snapshot/delete", url.Values{"snapshot": {name}}, nil)
	return err
}

// createSnapshot makes a snapshot and returns its name.
func (r *Remote) createSnapshot(ctx context.Context) (string, error) {
	text, err := r.call(ctx, http.MethodGet, "/snapshot/create", nil, nil)
	if err != nil {
		return "", err
	}
	var made struct {
		Status   string `json:"status"`
		Snapshot string `json:"snapshot"`
	}
	if err := json.Unmarshal(text, &made); err != nil || made.Status != "ok" || made.Snapshot == "" {
		return "", unavailable("/snapshot/create", errors.Join(err, fmt.Errorf("answer %.300q", text)))
	}
	return made.Snapshot, nil
}

// inMemory reports whether the server has anything in memory only, by its
// metrics.
func (r *Remote) inMemory(ctx context.Context) (bool, error) {
	text, err := r.call(ctx, http.MethodGet, "/metrics", nil, nil)
	if err != nil {
		return false, err
	}
	total := 0.0
	for _, name := range []string{
		`vm_pending_rows{type="storage"}`, `vm_pending_rows{type="indexdb"}`,
		`vm_parts{type="storage/inmemory"}`, `vm_parts{type="indexdb/inmemory"}`,
	} {
		n, err := gauge(text, name)
		if err != nil {
			return false, unavailable("/metrics", err)
		}
		total += n
	}
	return total > 0, nil
}

// gauge finds the value of a metric in the exposition format.
func gauge(text []byte, name string) (float64, error) {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// ServerSnapshot has the server make a snapshot of all that was appended, and
// returns its name: a folder below the server's -storageDataPath, which is the
// operator's to copy and to delete.
func (r *Remote) ServerSnapshot(ctx context.Context) (string, error) {
	const op = "tsdb/vm.Remote.ServerSnapshot"
	if err := r.use(op); err != nil {
		return "", err
	}
	defer r.users.Done()
	if err := r.advance(ctx, r.durable, 0, r.persist); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	name, err := r.createSnapshot(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return name, nil
}
