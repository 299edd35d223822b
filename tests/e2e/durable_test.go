package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// The load of the test: makers that create devices as fast as they are
// answered, each with an alias of its own and one that all of them want.
const (
	makers    = 6
	makerRuns = 5
)

// maker creates devices until there is no answer.
type maker struct {
	id   int
	next int
	// answered are the ids of those that were made, taken of those that were
	// refused because of the alias.
	answered, taken []string
}

// own is the alias that only this device wants, wanted the one that the n-th
// device of every maker does.
func own(id string) *devicesv1.Alias { return &devicesv1.Alias{Network: "own", Key: "id", Value: id} }

func wanted(n int) *devicesv1.Alias {
	return &devicesv1.Alias{Network: "wanted", Key: "n", Value: fmt.Sprint(n)}
}

// make creates until ctx ends or there is no answer. What has none may have
// been made or not.
func (m *maker) make(ctx context.Context, d door, answers *atomic.Int64) error {
	for {
		n := m.next
		m.next++
		id := fmt.Sprintf("m%d-%d", m.id, n)
		err := d.call(ctx, "DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{
			Parent: "projects/p", DeviceId: id, Device: &devicesv1.Device{Aliases: []*devicesv1.Alias{own(id), wanted(n)}},
		}, new(devicesv1.Device))
		var r *refusal
		switch {
		case err == nil:
			m.answered = append(m.answered, id)
		case errors.As(err, &r) && r.code == codes.AlreadyExists:
			m.taken = append(m.taken, id)
		case errors.As(err, &r) && r.code == codes.Unavailable:
			return nil // gone
		default:
			return err
		}
		answers.Add(1)
	}
}

// heard reads a tape up to the device that was made last, and adds to told how
// often each device was told of.
func heard(w *tape, f fleet, last string, told map[string]int) {
	w.t.Helper()
	for seen := false; !seen || w.token == ""; {
		m, err, ok := w.next()
		require.True(w.t, ok)
		require.NoError(w.t, err)
		require.False(w.t, m.GetIsHardReset() || m.GetIsSoftReset())
		for _, c := range m.GetDeviceChanges() {
			require.True(w.t, c.GetSet().GetIsNew(), "%v", c)
			id := idsOf(f, []*devicesv1.Device{c.GetSet().GetDevice()})[0]
			told[id]++
			seen = seen || id == last
		}
		if w.token = ""; m.GetIsCurrent() {
			w.token = m.GetResumeToken()
		}
	}
}

// TestCrash_AnsweredCreatesAreThereAndWereTold kills the platform under
// concurrent creates again and again. Whatever was answered is there, with its
// aliases, which nobody else has; and a watch that was taken up after each
// crash was told of every device exactly once. SPEC 1.F 39
func TestCrash_AnsweredCreatesAreThereAndWereTold(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		crashUnderCreates(t)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		crashUnderCreates(t, "--database", pgtest.Database(t, pgtest.DSN(t)))
	})
}

// crashUnderCreates is that test of a platform with these flags.
func crashUnderCreates(t *testing.T, args ...string) {
	data := t.TempDir()
	told, token := map[string]int{}, ""
	var f fleet
	catchUp := func(p *process.Platform, last string) {
		t.Helper()
		f = fleet{t: t, ctx: bounded(t), door: dialGRPC(t, p.URL, adminKey, nil), parent: "projects/p"}
		f.create(last, &devicesv1.Device{})
		w := f.tape(&devicesv1.WatchDevicesRequest{ResumeToken: token})
		heard(w, f, last, told)
		token = w.token
	}
	all := make([]*maker, makers)
	for i := range all {
		all[i] = &maker{id: i}
	}
	random := rand.New(rand.NewPCG(3, 4))
	for run := range makerRuns {
		p := start(t, data, args...)
		catchUp(p, fmt.Sprint("run", run))
		var wg sync.WaitGroup
		var answers atomic.Int64
		errs := make([]error, makers)
		for i, m := range all {
			d := dialGRPC(t, p.URL, adminKey, nil)
			wg.Go(func() { errs[i] = m.make(t.Context(), d, &answers) })
		}
		// The moment of the kill is a random number of answers, not a time.
		target := random.Int64N(200) + 20
		require.Eventually(t, func() bool { return answers.Load() >= target }, 60*time.Second, time.Millisecond)
		require.NoError(t, p.Kill())
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
	}

	p := start(t, data, args...)
	catchUp(p, "end")
	there := map[string]*devicesv1.Device{}
	for req := (&devicesv1.ListDevicesRequest{Parent: f.parent, PageSize: 100}); ; {
		page := new(devicesv1.ListDevicesResponse)
		f.do("DeviceService/ListDevices", req, page)
		for i, id := range idsOf(f, page.GetDevices()) {
			there[id] = page.GetDevices()[i]
			require.Equal(t, 1, told[id], "%s is there: how often that was told", id)
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	require.Len(t, told, len(there), "nothing was told that is not there")
	for _, m := range all {
		for _, id := range m.answered {
			require.Contains(t, there, id, "it was answered")
		}
		for _, id := range m.taken {
			require.NotContains(t, there, id, "it was refused")
		}
	}
	holders := map[string]string{}
	for id, d := range there {
		for _, a := range d.GetAliases() {
			require.Empty(t, holders[a.GetNetwork()+a.GetValue()], "two devices have %v", a)
			holders[a.GetNetwork()+a.GetValue()] = id
			got := new(devicesv1.Device)
			f.do("Aliases/ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: f.parent, Network: a.GetNetwork(), Key: a.GetKey(), Value: a.GetValue()}, got)
			require.Equal(t, d.GetName(), got.GetName())
		}
	}
	require.NotEmpty(t, holders)
	stop(t, p)
}

// TestDatabase_OfTwoPlatforms runs two processes on one database: what one does
// the other has, and tells those who watch there.
func TestDatabase_OfTwoPlatforms(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t, pgtest.DSN(t))
	of := func() (fleet, *process.Platform) {
		p := start(t, t.TempDir(), "--database", database)
		return fleet{t: t, ctx: bounded(t), door: dialGRPC(t, p.URL, adminKey, nil), parent: "projects/p"}, p
	}
	a, first := of()
	b, second := of()
	watched := b.tape(&devicesv1.WatchDevicesRequest{})
	told := map[string]int{}
	for i := range 20 {
		id := fmt.Sprint("d", i)
		a.create(id, &devicesv1.Device{Aliases: []*devicesv1.Alias{own(id)}})
		got := new(devicesv1.Device)
		b.do("DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: "projects/p/devices/" + id}, got)
		heard(watched, b, id, told)
	}
	require.Len(t, told, 20)
	err := b.door.call(b.ctx, "DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{
		Parent: b.parent, DeviceId: "thief", Device: &devicesv1.Device{Aliases: []*devicesv1.Alias{own("d7")}},
	}, new(devicesv1.Device))
	var r *refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, codes.AlreadyExists, r.code)
	stop(t, first)
	b.create("last", &devicesv1.Device{})
	stop(t, second)
}
