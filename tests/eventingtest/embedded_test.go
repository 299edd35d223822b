package eventingtest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/ingest"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tests/eventingtest"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/triggers/manifests"
)

// namespace is the project of the suite.
const namespace = "suite"

// embedded is the embedded broker behind its door.
type embedded struct {
	*broker.Broker
	url string
}

// Ingress implements eventingtest.Broker.
func (b *embedded) Ingress(name string) string { return b.url + "/brokers/" + namespace + "/" + name }

// Apply implements eventingtest.Broker.
func (b *embedded) Apply(ctx context.Context, manifest []byte) error {
	const own = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: " + namespace + "}\n---\n"
	set, err := manifests.Load(fstest.MapFS{"trigger.yaml": {Data: append([]byte(own), manifest...)}})
	if err != nil {
		return err
	}
	m := set.Triggers[0]
	t := broker.Trigger{
		Project: m.Namespace, Broker: m.Broker, Name: m.Name, Filter: m.Filter, Policy: m.Delivery.Policy(), Lanes: 32,
		Sink: delivery.HTTP{URL: m.Subscriber.URI, Namespace: m.Namespace}, Dest: m.Subscriber.URI,
	}
	if m.Delivery != nil && m.Delivery.DeadLetterSink != nil {
		t.DeadLetter = delivery.HTTP{URL: m.Delivery.DeadLetterSink.URI, Namespace: m.Namespace}
	}
	return b.SetTrigger(ctx, t)
}

// Delete implements eventingtest.Broker.
func (b *embedded) Delete(ctx context.Context, name string) error {
	return b.RemoveTrigger(ctx, namespace, name)
}

// TestEmbedded runs the suite against the embedded broker.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "db"), ledger.Schema+deadletters.Schema)
	require.NoError(t, err)
	b, err := broker.Open(t.Context(), broker.Options{
		Dir: filepath.Join(dir, "broker"), Ledger: ledger.New(db), DeadLetters: deadletters.New(db, deadletters.Options{}),
	}, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	server := httptest.NewServer(&ingest.Brokers{
		Broker: b, Authorize: func(*http.Request, string, string) error { return nil },
		MayPublish: func(context.Context, string, string) error { return nil },
	})
	t.Cleanup(func() {
		server.Close()
		stop()
		require.NoError(t, <-done)
		require.NoError(t, errors.Join(b.Close(), db.Close()))
	})
	t.Run("suite", func(t *testing.T) {
		eventingtest.Run(t, eventingtest.Options{Broker: &embedded{b, server.URL}, Namespace: namespace, Quiet: 150 * time.Millisecond})
	})
}

// Every difference is shown by a case, and told to people.
func TestDifferences_AreCasesAndDocumented(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{}
	for _, c := range eventingtest.Cases() {
		require.False(t, cases[c.Name], "two cases %s", c.Name)
		cases[c.Name] = true
	}
	text, err := os.ReadFile("../../docs/events.md")
	require.NoError(t, err)
	for _, d := range eventingtest.ClusterDifferences() {
		require.True(t, cases[d.Case], d.Case)
	}
	for _, d := range eventingtest.Differences() {
		require.True(t, cases[d.Case], d.Case)
		row := strings.Join([]string{"", d.Case, d.Knative, d.Here, d.Why, ""}, " | ")
		require.Contains(t, string(text), strings.TrimSpace(row))
	}
}
