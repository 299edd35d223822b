package edgeruntime

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// sensor is a Sensor made of a function.
type sensor func(r Reading) error

// Read implements Sensor.
func (s sensor) Read(_ context.Context, r Reading) error { return s(r) }

// steady reads the same figure every time.
var steady = sensor(func(r Reading) error {
	r.Set("cpu/utilization", 0.25)
	return nil
})

// rig is an agent and what it stands between.
type rig struct {
	config   Config
	platform *platform
	log      *bytes.Buffer
	agent    *Agent
	stop     context.CancelFunc
	done     chan error
}

// newRig is a rig with a real folder, whose agent does not run yet.
func newRig(t *testing.T) *rig {
	r := &rig{platform: newPlatform(t), log: new(bytes.Buffer)}
	r.config = Config{
		URL: "http://platform.test", Key: "k1", Device: "projects/p/devices/d", Dir: t.TempDir(),
		Sensor: steady, Transport: r.platform, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	return r
}

// start starts the agent.
func (r *rig) start(t *testing.T) {
	t.Helper()
	agent, err := New(r.config)
	require.NoError(t, err)
	r.agent, r.done = agent, make(chan error, 1)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.done <- agent.Run(ctx) }()
}

// halt stops the agent and waits for it.
func (r *rig) halt(t *testing.T) {
	t.Helper()
	r.stop()
	require.NoError(t, <-r.done)
}

// fill puts events with these ids into the queue of an agent that does not run.
func (r *rig) fill(t *testing.T, ids ...string) {
	t.Helper()
	var records [][]byte
	for _, id := range ids {
		records = append(records, textEvent(id, ""))
	}
	r.queue(t, records...)
}

// queue puts records into the queue of an agent that does not run.
func (r *rig) queue(t *testing.T, records ...[]byte) {
	t.Helper()
	c, err := r.config.complete()
	require.NoError(t, err)
	q, err := openQueue(c.Dir, c.MaxBytes, c.fs, c.Logger)
	require.NoError(t, err)
	_, err = q.journal.Append(t.Context(), records...)
	require.NoError(t, err)
	require.NoError(t, q.close())
}

// silent makes the rig's agent take only the one reading at its start.
func (r *rig) silent() { r.config.Interval = 10000 * time.Hour }

// up ends whatever the platform had.
func up(p *platform) { p.down, p.script, p.reject = false, nil, nil }

// rest lets time pass, and everything that it starts come to a rest.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ids are the ids of events.
func ids(events []event.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.ID())
	}
	return all
}

// some are the ids e0, e1 and so on.
func some(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("e%d", i))
	}
	return all
}
