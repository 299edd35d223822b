package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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

// The ways in which the peer is measured.
var (
	// asItComes is with its own settings and an index for the label of the list.
	asItComes = peerAs{name: "PocketBase", synchronous: "NORMAL", indexed: []string{"color"}}
	// likeOurs keeps what ours keeps: commits are on the disk when it answers,
	// and what lists of ours find quickly and sort by has an index.
	likeOurs = peerAs{name: "PocketBase, durable and indexed alike", synchronous: "FULL", indexed: []string{"color", "site", "route", "display_name", "created", "updated"}}
)

// peerAs is a way in which the peer is measured.
type peerAs struct {
	name, synchronous string
	indexed           []string
}

// start runs PocketBase on a new folder that holds a collection like our
// devices, and so many objects.
func (p peerAs) start(ctx context.Context, program, dir string, objects int) (*target, func() error, error) {
	if out, err := exec.CommandContext(ctx, program, "superuser", "create", peerUser, peerPassword, "--dir", dir).CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("peer: superuser: %w\n%s", err, out)
	}
	t, stop, err := p.serve(ctx, program, dir)
	if err != nil {
		return nil, nil, err
	}
	if err := p.define(ctx, t); err != nil {
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
	return p.serve(ctx, program, dir)
}

// serve starts the server and waits until it answers.
func (p peerAs) serve(ctx context.Context, program, dir string) (*target, func() error, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "serve", "--http", address, "--dir", dir)
	cmd.Env = append(os.Environ(), "PEER_SYNCHRONOUS="+p.synchronous)
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
	t := peer(p.name, "http://"+address)
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

// define makes the collection.
func (p peerAs) define(ctx context.Context, t *target) error {
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
	fields = append(fields, map[string]any{"name": "created", "type": "autodate", "onCreate": true},
		map[string]any{"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true})
	var indexes []string
	for _, field := range p.indexed {
		indexes = append(indexes, fmt.Sprintf("CREATE INDEX robots_%s ON robots (%[1]s)", field))
	}
	return t.call(ctx, http.MethodPost, "/api/collections", map[string]any{
		"name": "robots", "type": "base", "fields": fields,
		"indexes":  indexes,
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
		INSERT INTO robots (id, display_name, route, color, site, created, updated)
		SELECT printf('seed%011d', i), printf('Robot %d', i), 'writer',
			CASE WHEN i % 100 = 0 THEN ? WHEN i % 3 = 0 THEN 'blue' WHEN i % 3 = 1 THEN 'green' ELSE 'grey' END, 'north',
			strftime('%Y-%m-%d %H:%M:%fZ'), strftime('%Y-%m-%d %H:%M:%fZ')
		FROM n`, objects, rareColor)
	return errors.Join(err, db.Close())
}
