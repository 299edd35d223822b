package member

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/storetest/pgtest"
)

// world is a database as a platform has it, and where the platform says whose it is.
type world struct {
	t      *testing.T
	store  *store.Store
	issuer string
	env    map[string]string
}

// open makes one, in which there is nothing yet.
func open(t *testing.T) *world {
	t.Helper()
	dsn := pgtest.Database(t, pgtest.DSN(t))
	d, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	types, err := Types()
	require.NoError(t, err)
	w := &world{t: t}
	policies := Policies(types, ServicePolicy([]string{"local"}, "local"), func() *store.Store { return w.store })
	w.store = store.New(d, types, store.Options{Plugins: Plugins(nil, policies, "local")})
	identity, err := w.store.Identity(t.Context())
	require.NoError(t, err)
	w.issuer = event.Authority + "platforms/" + identity
	platform := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(out).Encode(map[string]any{"issuer": w.issuer}) // the client went away
	}))
	t.Cleanup(platform.Close)
	w.env = map[string]string{URLVariable: platform.URL, DatabaseVariable: dsn}
	return w
}

// save saves an object, as the platform itself.
func (w *world) save(m proto.Message) {
	w.t.Helper()
	ctx := policy.With(w.t.Context(), ServicePolicy([]string{"local"}, "local"))
	require.NoError(w.t, w.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		return w.store.Save(ctx, m, store.SaveOptions{Reason: "test"})
	}))
}

// starts checks why a member does not open here, or that it does.
func (w *world) starts(reason string) *Member {
	w.t.Helper()
	m, err := Open(w.t.Context(), w.env, Options{})
	if reason != "" {
		require.Equal(w.t, reason, fault.ReasonOf(err), "%v", err)
		return nil
	}
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, m.Close()) })
	return m
}

// A member opens what a platform of its release and of one region has, and nothing
// else, and ends when the platform is of another release.
func TestMember_BelongsToItsPlatform(t *testing.T) {
	t.Parallel()
	w := open(t)
	mine := w.issuer
	w.issuer = event.Authority + "platforms/another"
	w.starts("ANOTHER_DATABASE")
	w.issuer = mine
	w.starts("OTHER_RELEASE") // no platform has opened it yet
	require.NoError(t, w.store.Reindex(t.Context()))
	w.starts("NO_SUCH_REGION")
	w.save(&metav1.Region{Name: "regions/local"})
	m := w.starts("")
	w.env[RegionVariable] = "eu"
	w.starts("NO_SUCH_REGION")
	w.save(&metav1.Region{Name: "regions/eu"})
	w.starts("MANY_REGIONS")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.look(ctx, time.Millisecond) }()
	w.save(&resourcev1.IndexLayout{Name: "indexLayouts/devices.selvedge.dev.Device", Layout: "another"})
	require.Equal(t, "OTHER_RELEASE", fault.ReasonOf(<-ended))
	require.NoError(t, ctx.Err())
}

// What is not said is named.
func TestMember_NotConfigured(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{URLVariable, DatabaseVariable} {
		env := map[string]string{URLVariable: "http://127.0.0.1:1", DatabaseVariable: "host=/nowhere"}
		delete(env, missing)
		_, err := Open(t.Context(), env, Options{})
		require.Equal(t, "NOT_CONFIGURED", fault.ReasonOf(err))
		require.ErrorContains(t, err, missing)
	}
	require.Equal(t, "local", Region(nil))
}
