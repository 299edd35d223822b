package devicesv1

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

const (
	// followSkew is how much earlier than now the first changes are asked for:
	// as much as the clock of the platform may be behind.
	followSkew = 10 * time.Minute
	// followPause is the pause before a watch is begun again, which doubles up
	// to followMost while it fails.
	followPause = time.Second
	followMost  = time.Minute
)

// watched is how far a Client knows of changes.
//
// A phase is a time from whose beginning on every change was told, or will be
// before it goes on: while it does, an answer that was asked for in it is right
// unless it was dropped. An interrupted phase goes on once what changed
// meanwhile was told, which a resume token makes possible.
type watched struct {
	// phase is the one that goes on, 0 for none.
	phase atomic.Uint64
	// told counts what was told.
	told atomic.Uint64

	mu sync.Mutex
	// last is the newest phase.
	last uint64
	// current is which of the collections are watched and up to date.
	current [len(followed)]bool
	// warned is whether it was logged that there is no phase.
	warned bool
}

// collection is a kind of resources under parents that are watched.
type collection struct{ method, parent string }

// followed are the collections that the answers of a Client are of.
var followed = [...]collection{
	{"WatchDevices", "projects/-"}, {"WatchDevices", "projects/-/regions/-"}, {"WatchBlueprints", "projects/-"},
}

// Run watches the registry until ctx ends, so that answers are kept until they
// change. A key that may not watch it, or a platform that does not answer, is
// no error: answers are then kept for five seconds, which is logged once.
func (c *Client) Run(ctx context.Context, log *slog.Logger) {
	desc := AddTo(new(schema.Registry))
	platform := &rpc.Client{URL: c.platform.URL, Key: c.platform.Key, HTTP: &http.Client{
		Transport: c.platform.HTTP.Transport, CheckRedirect: c.platform.HTTP.CheckRedirect,
	}}
	var all sync.WaitGroup
	for i, f := range followed {
		for _, m := range desc.Methods {
			if string(m.Desc.Name()) == f.method {
				all.Go(func() { (&follower{c, platform, m, i, log}).run(ctx) })
			}
		}
	}
	all.Wait()
}

// follower watches one of the collections.
type follower struct {
	c        *Client
	platform *rpc.Client
	method   *schema.Method
	// i is which of the collections.
	i   int
	log *slog.Logger
}

// run watches until ctx ends. It begins with the changes of the last minutes: so
// no snapshot of all there is is needed, and nothing but a token is kept.
func (f *follower) run(ctx context.Context) {
	token, pause := "", followPause
	for ctx.Err() == nil {
		if token == "" {
			f.c.watched.forget(f.i)
		}
		err := f.platform.Watch(ctx, f.method, f.request(token), func(msg proto.Message) error {
			r, ok := msg.(interface {
				GetIsCurrent() bool
				GetIsHardReset() bool
				GetResumeToken() string
			})
			if !ok {
				panic("BUG: devicesv1: " + string(f.method.Name) + " is no watch of a collection")
			}
			if r.GetIsHardReset() {
				f.c.watched.forget(f.i)
				token = ""
			}
			f.c.changed(msg)
			if r.GetIsCurrent() {
				token, pause = r.GetResumeToken(), followPause
				if f.c.watched.set(f.i, true) {
					f.log.LogAttrs(ctx, slog.LevelInfo, "the registry of devices is watched")
				}
			}
			return nil
		})
		if f.c.watched.set(f.i, false) && ctx.Err() == nil {
			f.log.LogAttrs(ctx, slog.LevelWarn, "the registry of devices is not watched: answers are kept for a short time only",
				slog.Duration("time", clientTTL), slog.Any("error", err))
		}
		if fault.ReasonOf(err) == "INVALID_RESUME_TOKEN" {
			token = ""
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)/2):
		}
		pause = min(2*pause, followMost)
	}
}

// request asks for the changes after those of the token.
func (f *follower) request(token string) proto.Message {
	var since *timestamppb.Timestamp
	if token == "" {
		since = timestamppb.New(time.Now().Add(-followSkew))
	}
	if followed[f.i].method == "WatchBlueprints" {
		return &WatchBlueprintsRequest{Type: resourcev1.WatchType_STATELESS, Parent: followed[f.i].parent, ResumeToken: token, StartingTime: since}
	}
	return &WatchDevicesRequest{Type: resourcev1.WatchType_STATELESS, Parent: followed[f.i].parent, ResumeToken: token, StartingTime: since}
}

// forget ends the phase for good: what changed in a collection is not known.
func (w *watched) forget(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	w.current[i] = false
	w.update()
}

// set says whether a collection is up to date, and reports whether that is to be
// logged: that all are, or the first time that one is not.
func (w *watched) set(i int, current bool) (news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.phase.Load() != 0
	w.current[i] = current
	w.update()
	if is := w.phase.Load() != 0; is {
		w.warned = false
		return !was
	}
	news = !current && !w.warned
	w.warned = w.warned || !current
	return news
}

// update makes phase what the rest says. The caller holds mu.
func (w *watched) update() {
	phase := w.last
	for _, current := range w.current {
		if !current {
			phase = 0
		}
	}
	w.phase.Store(phase)
}

// changed forgets the answers that a response of a watch is about: now, and once
// more later, since another process of the platform may answer which knows of
// the change no earlier than that.
func (c *Client) changed(msg proto.Message) {
	var devices, aliases, blueprints []question
	switch msg := msg.(type) {
	case *WatchDevicesResponse:
		for _, x := range msg.GetDeviceChanges() {
			if x.GetRemoved() != nil {
				devices = append(devices, question{name: x.GetRemoved().GetName()})
				continue
			}
			d := x.GetSet().GetDevice()
			devices = append(devices, question{name: d.GetName()})
			for _, a := range d.GetAliases() {
				aliases = append(aliases, question{resource.Name(d.GetName()).Project(), a.External()})
			}
		}
	case *WatchBlueprintsResponse:
		for _, x := range msg.GetBlueprintChanges() {
			name := x.GetRemoved().GetName()
			if x.GetSet() != nil {
				name = x.GetSet().GetBlueprint().GetName()
			}
			blueprints = append(blueprints, question{name: name})
		}
	}
	if len(devices)+len(blueprints) == 0 {
		return
	}
	drop := func() {
		c.watched.told.Add(1) // before the drop: see resolve
		c.devices.Drop(devices...)
		c.aliases.Drop(aliases...)
		c.blueprints.Drop(blueprints...)
	}
	drop()
	time.AfterFunc(clientTTL, drop)
}
