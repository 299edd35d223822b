package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/storetest"
	"selvedge.dev/sdk/store/storetest/pgtest"
)

func TestDriver_Killed(t *testing.T) {
	storetest.RunKilled(t, func(t testing.TB) string {
		dsn := pgtest.DSN(t)
		return dsn + "|" + pgtest.Schema(t, dsn)
	}, func(t testing.TB, where string) store.Driver {
		dsn, schema, _ := strings.Cut(where, "|")
		return open(t, dsn, postgres.Options{Schema: schema})
	})
}

// creation is a batch that creates an object.
func creation(name string) *store.Batch {
	return &store.Batch{ID: "batch of " + name, Time: time.Unix(1, 0), Writes: []store.Write{{
		Type: storetest.Thing, Name: resource.Name(name), After: &store.Record{Body: []byte(name)},
	}}}
}

// exists is whether there is an object.
func exists(t testing.TB, d store.Driver, name string) bool {
	t.Helper()
	s, _, err := d.Snapshot(t.Context())
	require.NoError(t, err)
	recs, err := s.Get(t.Context(), storetest.Thing, []resource.Name{resource.Name(name)})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return recs[0] != nil
}

// once checks that the changes are those of these objects, each once, in order.
func once(t testing.TB, d store.Driver, names []string) {
	t.Helper()
	changes, err := d.Changes(t.Context(), 0, 100_000)
	require.NoError(t, err)
	var got []string
	for i, c := range changes {
		require.Equal(t, store.Seq(i+1), c.Seq)
		got = append(got, string(c.Name))
	}
	require.Equal(t, names, got)
}

// admin executes statements in a schema.
func admin(t testing.TB, dsn, schema string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	for _, sql := range append([]string{"SET search_path = " + schema}, statements...) {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

// The connection that commits is cut at every moment of a commit, in every way:
// an error leaves nothing, success everything, and nothing is there twice.
func TestDriver_CutAnywhere(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for name, cut := range map[string]pgtest.Cut{"Before": pgtest.Before, "After": pgtest.After, "Middle": pgtest.Middle, "Silent": pgtest.Silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := pgtest.NewProxy(t, dsn)
			d := open(t, proxy.DSN(), postgres.Options{Schema: pgtest.Schema(t, dsn)})
			var done []string
			cuts := 0
			for n := 1; n <= 20; n++ {
				proxy.Arm("committer", n, cut)
				for i := range 3 {
					name := fmt.Sprintf("%d-%d", n, i)
					_, err := d.Commit(t.Context(), creation(name))
					if err != nil {
						is(t, err, fault.Unavailable)
					}
					require.Equal(t, err == nil, exists(t, d, name), "%v", err)
					if err == nil {
						done = append(done, name)
					}
				}
				if !proxy.Armed() {
					cuts++
				}
			}
			require.GreaterOrEqual(t, cuts, 6, "cuts in connecting, beginning and committing")
			once(t, d, done)
		})
	}
}

// is checks the kind of a fault.
func is(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	require.Equal(t, kind.String(), fault.KindOf(err).String(), "%v", err)
}

// The backend of the committer is terminated again and again while writers
// commit.
func TestDriver_Terminated(t *testing.T) {
	t.Parallel()
	d := fresh(t, postgres.Options{})
	conn, err := pgx.Connect(t.Context(), pgtest.DSN(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	type outcome struct {
		name string
		err  error
	}
	outcomes := make(chan outcome)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 60 {
				name := fmt.Sprintf("%d-%d", w, i)
				_, err := d.Commit(t.Context(), creation(name))
				outcomes <- outcome{name, err}
			}
		})
	}
	go func() {
		all.Wait()
		close(outcomes)
	}()
	n, failed := 0, 0
	for o := range outcomes {
		if n++; n%7 == 0 {
			_, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", postgres.CommitterName(d))
			require.NoError(t, err)
		}
		if o.err != nil {
			failed++
		}
		require.Equal(t, o.err == nil, exists(t, d, o.name), "%s: %v", o.name, o.err)
	}
	require.Less(t, failed, n/4)
}

// Idle connections that were terminated, as by a restart of the server, are no
// error.
func TestDriver_Restarted(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	proxy := pgtest.NewProxy(t, dsn)
	d := open(t, proxy.DSN(), postgres.Options{Schema: pgtest.Schema(t, dsn)})
	var held []store.Snapshot
	for range 5 {
		s, _, err := d.Snapshot(t.Context())
		require.NoError(t, err)
		held = append(held, s)
	}
	for _, s := range held {
		require.NoError(t, s.Close())
	}
	_, err := d.Commit(t.Context(), creation("a"))
	require.NoError(t, err)
	proxy.CutAll()
	require.True(t, exists(t, d, "a"))
	proxy.CutAll()
	_, err = d.Commit(t.Context(), creation("b"))
	require.NoError(t, err)
	proxy.CutAll()
	changes, err := d.Changes(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, changes, 2)
	proxy.CutAll()
	require.NoError(t, d.Trim(t.Context(), 1))
}

// The server says that a transaction lost against another, or deadlocked: it is
// done again. What it says of one batch disturbs no other.
func TestDriver_ServerRefuses(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "40P01"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			schema := pgtest.Schema(t, dsn)
			d := open(t, dsn, postgres.Options{Schema: schema})
			admin(t, dsn, schema, "CREATE SEQUENCE fails", fmt.Sprintf(`
				CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					IF nextval('%s.fails') %% 3 > 0 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '%s'; END IF;
					RETURN NEW;
				END $$`, schema, code),
				"CREATE TRIGGER fail BEFORE INSERT ON object FOR EACH ROW EXECUTE FUNCTION fail()")
			var names []string
			for i := range 5 {
				names = append(names, fmt.Sprint(i))
				_, err := d.Commit(t.Context(), creation(names[i]))
				require.NoError(t, err)
			}
			once(t, d, names)
			admin(t, dsn, schema, "ALTER SEQUENCE fails INCREMENT 3 RESTART 1")
			_, err := d.Commit(t.Context(), creation("never"))
			is(t, err, fault.Unavailable)
			require.False(t, exists(t, d, "never"))
		})
	}
	t.Run("One", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.DSN(t)
		schema := pgtest.Schema(t, dsn)
		d := open(t, dsn, postgres.Options{Schema: schema})
		admin(t, dsn, schema, "ALTER TABLE object ADD CHECK (body <> 'poison')")
		storetest.Poison(t, d)
	})
}

// A server that cannot be reached is Unavailable, and is used again once it can.
func TestDriver_Unreachable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	_, err := postgres.Open(t.Context(), "host=/nowhere user=x", postgres.Options{})
	is(t, err, fault.Unavailable)
	_, err = postgres.Open(t.Context(), "://secret", postgres.Options{})
	is(t, err, fault.Invalid)
	require.NotContains(t, err.Error(), "secret")

	proxy := pgtest.NewProxy(t, dsn)
	d := open(t, proxy.DSN(), postgres.Options{Schema: pgtest.Schema(t, dsn)})
	proxy.Refuse(true)
	_, err = d.Commit(t.Context(), creation("a"))
	is(t, err, fault.Unavailable)
	_, _, err = d.Snapshot(t.Context())
	is(t, err, fault.Unavailable)
	waiting, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() { waited <- d.Wait(waiting, 0) }()
	proxy.Refuse(false)
	_, err = d.Commit(t.Context(), creation("a"))
	require.NoError(t, err)
	require.NoError(t, <-waited)
	cancel()
	require.True(t, exists(t, d, "a"))
	require.NoError(t, d.Wait(waiting, 0), "there is a change already")
}
