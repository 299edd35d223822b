package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// syncTries is how many snapshots Sync makes, a second apart, before it gives up:
// for longer than the five seconds after which the server writes a part to a file
// by itself.
const syncTries = 8

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

// persist makes snapshots until nothing is in memory only, on any node; see
// Store.persist.
func (r *Remote) persist(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	err := r.each(func(_ int, n *node) error {
		if !n.inserts() {
			return nil
		}
		return r.forward(ctx, n)
	})
	if err != nil {
		return err
	}
	return r.each(func(_ int, n *node) error {
		if n.inserts() {
			return nil
		}
		return r.persistOn(ctx, n)
	})
}

// persistOn is persist for one node. What it tells in between may be of before
// the snapshot, so it is believed only when it is new.
func (r *Remote) persistOn(ctx context.Context, n *node) error {
	for range syncTries {
		if err := r.flush(ctx, n); err != nil {
			return err
		}
		if err := r.snapshot(ctx, n); err != nil {
			return err
		}
		inMemory, err := r.inMemory(ctx, n, time.Now())
		if err != nil || !inMemory {
			return err
		}
	}
	return unavailable("/snapshot/create", fmt.Errorf("after %d snapshots the server still has samples in memory only", syncTries))
}

// snapshot makes a snapshot and removes it.
func (r *Remote) snapshot(ctx context.Context, n *node) error {
	name, err := r.createSnapshot(ctx, n)
	if err != nil {
		return err
	}
	_, err = r.ask(ctx, n, "/snapshot/delete", url.Values{"snapshot": {name}})
	return err
}

// createSnapshot makes a snapshot and returns its name.
func (r *Remote) createSnapshot(ctx context.Context, n *node) (string, error) {
	text, err := r.ask(ctx, n, "/snapshot/create", nil)
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

// inMemory reports whether a node has anything in memory only, by its metrics of
// since or later.
func (r *Remote) inMemory(ctx context.Context, n *node, since time.Time) (bool, error) {
	text, err := r.page(ctx, n, since)
	if err != nil {
		return false, err
	}
	rows := 0.0
	for _, name := range []string{
		`vm_pending_rows{type="storage"}`, `vm_pending_rows{type="indexdb"}`,
		`vm_parts{type="storage/inmemory"}`, `vm_parts{type="indexdb/inmemory"}`,
	} {
		n, err := gauge(text, name)
		if err != nil {
			return false, unavailable("/metrics", err)
		}
		rows += n
	}
	return rows > 0, nil
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
// operator's to copy and to delete. Of a cluster it is a name for each vmstorage,
// HOST:PORT=NAME, with commas between.
func (r *Remote) ServerSnapshot(ctx context.Context) (string, error) {
	const op = "tsdb/vm.Remote.ServerSnapshot"
	if err := r.useToWrite(op); err != nil {
		return "", err
	}
	defer r.users.Done()
	if err := r.advance(ctx, r.durable, 0, r.persist); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	if r.cluster { // nothing may have been appended yet, and then nobody asked
		if err := r.learn(ctx); err != nil {
			return "", fmt.Errorf("%s: %w", op, err)
		}
	}
	names := make([]string, len(r.nodes))
	err := r.each(func(i int, n *node) (err error) {
		if n.inserts() {
			return nil
		}
		names[i], err = r.createSnapshot(ctx, n)
		if r.cluster {
			names[i] = n.url.Host + "=" + names[i]
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return strings.Join(slices.DeleteFunc(names, func(name string) bool { return name == "" }), ","), nil
}
