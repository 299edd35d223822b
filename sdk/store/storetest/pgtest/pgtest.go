// Package pgtest gives tests a real PostgreSQL: the one that the environment
// variable SELVEDGE_TEST_POSTGRES says, or else a private one that is started
// from what is installed, once for each test process, and ends with it. Without
// either, tests skip, or fail if SELVEDGE_REQUIRE_POSTGRES is set.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// DSN is the data source name of a database, in which the test makes schemas of
// its own by [Schema].
func DSN(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv("SELVEDGE_TEST_POSTGRES"); dsn != "" {
		return dsn
	}
	dsn, err := private()
	switch {
	case errors.Is(err, errNone) && os.Getenv("SELVEDGE_REQUIRE_POSTGRES") == "":
		t.Skip(err)
	case err != nil:
		require.NoError(t, err)
	}
	return dsn
}

// Database is the data source name of a database that nobody else uses. When the
// test ends, it is dropped.
func Database(t testing.TB, dsn string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	do := func(statement string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, dsn)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
	}
	do("CREATE DATABASE " + name)
	t.Cleanup(func() { do("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%d user=%s password='%s' dbname=%s", config.Host, config.Port, config.User, config.Password, name)
}

// Schema is the name of a schema that nobody else uses. When the test ends, it
// is dropped.
func Schema(t testing.TB, dsn string) string {
	t.Helper()
	schema := "test_" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, dsn)
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
	})
	return schema
}

// errNone is why there is no server.
var errNone = errors.New("PostgreSQL is not installed: there is no initdb in /usr/lib/postgresql/*/bin and in the path")

// private is the server of this process.
var private = sync.OnceValues(start)

// server is the script of a server: it ends, and leaves nothing, when its input
// does, which is when the process that has the other end of it does.
const server = `
dir=$1; bin=$2
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || exit 1
"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=300 -c shared_buffers=256MB \
	-c max_wal_size=4GB -c autovacuum_naptime=5s >>"$dir/log" 2>&1 &
pid=$!
read -r _
kill -QUIT $pid
wait $pid
rm -rf "$dir"
`

// start starts a server that listens on a socket in a folder of its own.
func start() (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "selvedge-pg-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", server, "sh", dir, bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what stops the tests does not stop it half
	cmd.Dir = dir
	if os.Getuid() == 0 {
		if err := demote(cmd, dir); err != nil {
			return "", fmt.Errorf("starting PostgreSQL as another user than root: %w", err)
		}
	}
	// Nobody writes to it; it is open until the process ends.
	if _, err := cmd.StdinPipe(); err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting PostgreSQL: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	dsn := "host=" + dir + " user=postgres dbname=postgres"
	return dsn, await(dsn, filepath.Join(dir, "log"), ended)
}

// binaries is the folder with the programs, those of the newest release.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		path, err := exec.LookPath("initdb")
		if err != nil {
			return "", errNone
		}
		found = []string{path}
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return release(a) - release(b) })
	return filepath.Dir(newest), nil
}

// release is the number of the release of a program.
func release(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// demote has a command run as the user that PostgreSQL was installed with, who
// then owns the folder.
func demote(cmd *exec.Cmd, dir string) error {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(dir, uid, gid)
}

// await waits until the server answers.
func await(dsn, log string, ended chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case err := <-ended:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("PostgreSQL ended: %w: %s", err, text)
		}
	}
}
