package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"selvedge.dev/sdk/store/sqlite"
)

// The superuser of the peer, for its set-up.
const (
	peerUser     = "bench@example.com"
	peerPassword = "a-password-of-the-bench"
)

// startPeer runs PocketBase on a new folder that holds a collection like our
// devices, with an index for the label of the list, and so many objects.
func startPeer(ctx context.Context, program, dir string, objects int) (*target, func() error, error) {
	if out, err := exec.CommandContext(ctx, program, "superuser", "create", peerUser, peerPassword, "--dir", dir).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("peer: superuser: %w\n%s", err, out)
	}
	t, stop, err := servePeer(ctx, program, dir)
	if err != nil {
		return nil, nil, err
	}
	if err := definePeer(ctx, t); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	if objects == 0 {
		return t, stop, nil
	}
	if err := stop(); err != nil {
		return nil, nil, err
	}
	if err := seedPeer(ctx, dir, objects); err != nil {
		return nil, nil, err
	}
	return servePeer(ctx, program, dir)
}

// servePeer starts the server and waits until it answers.
func servePeer(ctx context.Context, program, dir string) (*target, func() error, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "serve", "--http", address, "--dir", dir)
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if ended := cmd.Wait(); !errors.As(ended, &exit) {
			err = errors.Join(err, ended)
		}
		return err
	}
	t := peer("http://"+address, "")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := t.call(ctx, http.MethodGet, "/api/health", nil, nil)
		if err == nil {
			return t, stop, nil
		}
		if time.Now().After(deadline) {
			return nil, nil, errors.Join(fmt.Errorf("peer: %w", err), stop())
		}
	}
}

// definePeer makes the collection.
func definePeer(ctx context.Context, t *target) error {
	var auth struct {
		Token string `json:"token"`
	}
	err := t.call(ctx, http.MethodPost, "/api/collections/_superusers/auth-with-password", map[string]any{"identity": peerUser, "password": peerPassword}, &auth)
	if err != nil {
		return err
	}
	t.token = auth.Token
	defer func() { t.token = "" }()
	var fields []map[string]any
	for _, name := range []string{"display_name", "route", "color", "site"} {
		fields = append(fields, map[string]any{"name": name, "type": "text"})
	}
	return t.call(ctx, http.MethodPost, "/api/collections", map[string]any{
		"name": "robots", "type": "base", "fields": fields,
		"indexes":  []string{"CREATE INDEX robots_color ON robots (color)"},
		"listRule": "", "viewRule": "", "createRule": "",
	}, nil)
}

// seedPeer puts objects into the peer's database, while it is stopped.
func seedPeer(ctx context.Context, dir string, objects int) error {
	db, err := sqlite.Open(ctx, filepath.Join(dir, "data.db"), "")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
		INSERT INTO robots (id, display_name, route, color, site)
		SELECT printf('seed%011d', i), printf('Robot %d', i), 'writer',
			CASE WHEN i % 100 = 0 THEN ? WHEN i % 3 = 0 THEN 'blue' WHEN i % 3 = 1 THEN 'green' ELSE 'grey' END, 'north'
		FROM n`, objects, rareColor)
	return errors.Join(err, db.Close())
}
