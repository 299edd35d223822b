package serving

import (
	"context"
	"fmt"
	"sync"
	"time"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/scale"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// unit is a revision that can run: its image by digest, its instances, and how
// many of them there should be.
type unit struct {
	s        *Serving
	at       named
	uid      string
	id       pool.Identity
	spec     spec.RevisionSpec
	scale    scale.Settings
	deadline time.Duration
	pool     *pool.Pool
	cancel   context.CancelFunc
	// kick wakes the loop.
	kick chan struct{}

	mu sync.Mutex
	// image is the reference by digest, "" until it is known; missing is why it
	// is not.
	image   string
	missing error
	// initialized is whether the revision was ready once; late that it was not
	// in time.
	initialized, late bool
	reachable         bool
	// fresh is until when a revision that came up may wait for its route.
	fresh time.Time
}

// ensureUnit is the unit of a revision, which is made if there is none.
func (s *Serving) ensureUnit(o object.Object) (*unit, error) {
	at := named{o.Namespace(), o.Name()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.units[at]; u != nil {
		if u.uid == o.UID() {
			return u, nil
		}
		s.endUnit(u)
	}
	u := &unit{s: s, at: at, uid: o.UID(), kick: make(chan struct{}, 1)}
	u.id = pool.Identity{Namespace: o.Namespace(), Revision: o.Name(), Service: o.Labels()[spec.ServiceLabel], Configuration: o.Labels()[spec.ConfigurationLabel]}
	if err := (object.Object{"spec": o["spec"]}).Into(&struct {
		Spec *spec.RevisionSpec `json:"spec"`
	}{&u.spec}); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", at, err)
	}
	if len(u.spec.Containers) != 1 {
		return nil, &fault.Error{Op: "serving", Kind: fault.Invalid, Name: at.name, Err: fmt.Errorf("it has %d containers", len(u.spec.Containers))}
	}
	concurrency := value(u.spec.ContainerConcurrency)
	u.scale, _ = scale.Parse(o.Annotations(), concurrency, s.o.Scale) // what is wrong was refused when it was written
	u.deadline = progress(o.Annotations())
	u.initialized = o.Condition("Ready").Status == yes
	u.image = digestOf(o)
	u.pool = pool.New(pool.Options{
		Revision: u.id, Prepare: u.prepare, Runner: s.o.Runner, Container: u.spec.Containers[0], Concurrency: int(concurrency),
		Activation: max(1, u.scale.Activation), H2C: len(u.spec.Containers[0].Ports) > 0 && u.spec.Containers[0].Ports[0].Name == "h2c",
		Drain: u.timeout(), Grace: s.o.Grace, MaxHeld: s.o.MaxHeld, Room: s.room, Logs: s.o.Logs, Changed: u.changed,
		Backoff: s.o.Backoff, Now: s.o.Now, Logger: s.log,
	})
	s.units[at] = u
	if s.running != nil {
		s.startUnit(u)
	}
	return u, nil
}

// digestOf is the image that a revision was found to have, "" if it was not yet.
func digestOf(revision object.Object) string {
	list, _ := revision.Get("status", "containerStatuses").([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			return object.Object(m).Text("imageDigest")
		}
	}
	return ""
}

// timeout is how long a request may take.
func (u *unit) timeout() time.Duration {
	return time.Duration(max(1, value(u.spec.TimeoutSeconds))) * time.Second
}

// startUnit starts the loop of a unit. The caller holds the lock.
func (s *Serving) startUnit(u *unit) {
	ctx, cancel := context.WithCancel(s.running)
	u.cancel = cancel
	s.group.Go(func() { u.run(ctx) })
}

// endUnit stops a unit whose revision is no more. The caller holds the lock.
func (s *Serving) endUnit(u *unit) {
	delete(s.units, u.at)
	if u.cancel != nil {
		u.cancel()
	}
	s.group.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), u.timeout())
		defer cancel()
		if s.running != nil {
			defer context.AfterFunc(s.running, cancel)()
		}
		u.pool.Close(ctx)
	})
}

// view is how far a unit is.
type view struct {
	pool.State
	// image is the reference by digest, or missing why it is not known.
	image   string
	missing error
	// initialized is whether it was ready once, late that it was not in time, and
	// fresh that it may still wait for its route.
	initialized, late, fresh bool
}

// view is how far the unit is now.
func (u *unit) view() view {
	st := u.pool.State()
	u.mu.Lock()
	defer u.mu.Unlock()
	return view{st, u.image, u.missing, u.initialized, u.late, !u.initialized || u.s.o.Now().Before(u.fresh)}
}

// changed has the status written and the scale decided.
func (u *unit) changed() {
	u.s.queue.add(item{spec.Revision, u.at})
	u.wake()
}

// wake wakes the loop.
func (u *unit) wake() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// setReachable says whether a route leads to the revision.
func (u *unit) setReachable(is bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.reachable != is {
		u.reachable, u.fresh = is, time.Time{}
		u.wake()
	}
}

// run finds the image, brings the revision to its initial scale, and scales it
// from then on.
func (u *unit) run(ctx context.Context) {
	if !u.resolve(ctx) || !u.deploy(ctx) {
		return
	}
	for ctx.Err() == nil {
		u.follow(ctx)
		select {
		case <-u.kick:
		case <-ctx.Done():
		}
	}
}

// The delays between two looks for an image that is not there.
const (
	firstLook = time.Second
	lastLook  = 30 * time.Second
)

// resolve finds the image. It looks again until the revision's deadline for one
// that is not there: it may be pushed late.
func (u *unit) resolve(ctx context.Context) bool {
	if u.image != "" {
		return true
	}
	end := u.s.o.Now().Add(u.deadline)
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		image, err := u.s.o.Images.Resolve(ctx, u.at.namespace, u.spec.Containers[0].Image)
		u.mu.Lock()
		u.image, u.missing = image, err
		u.mu.Unlock()
		u.changed()
		if err == nil {
			return true
		}
		if u.s.o.Now().After(end) {
			return false
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// deploy brings a new revision to its initial scale. One that does not come up
// until the deadline is given up.
func (u *unit) deploy(ctx context.Context) bool {
	if u.initialized {
		return true
	}
	want := max(u.scale.Initial, u.scale.Min)
	if u.scale.Max > 0 {
		want = min(want, u.scale.Max)
	}
	u.pool.Scale(want)
	deadline := time.NewTimer(u.deadline)
	defer deadline.Stop()
	for u.pool.State().Ready < want {
		select {
		case <-u.kick:
		case <-ctx.Done():
			return false
		case <-deadline.C:
			u.mu.Lock()
			u.late = true
			u.mu.Unlock()
			u.pool.Scale(0)
			u.changed()
			return false
		}
	}
	u.mu.Lock()
	u.initialized = true
	u.fresh = u.s.o.Now().Add(max(u.scale.Window, routeTime))
	u.mu.Unlock()
	u.changed()
	return true
}

// follow scales the revision until it has and needs no instance. Without one
// nothing of it runs, not even a clock.
func (u *unit) follow(ctx context.Context) {
	d := scale.New(u.scale)
	u.pool.Sample()
	tick := time.NewTicker(u.s.o.Tick)
	defer tick.Stop()
	for {
		st := u.pool.State()
		u.mu.Lock()
		now := u.s.o.Now()
		reachable := u.reachable || now.Before(u.fresh)
		u.mu.Unlock()
		d.Record(now, u.pool.Sample())
		n := d.Decide(now, scale.Fleet{Ready: st.Ready, Reachable: reachable})
		if starting := len(st.Instances) > 0 && st.Ready == 0 && st.Wanted > 0; starting && n == 0 && st.Failure.Reason == "" {
			n = st.Wanted // it was asked for a moment ago
		}
		u.pool.Scale(n)
		if n == 0 && len(u.pool.State().Instances) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// routeTime is long enough for a route to be written, on a busy machine too.
const routeTime = 10 * time.Second

// progress is how long a revision may take to come up, 10 minutes by default.
func progress(annotations map[string]string) time.Duration {
	if d, err := time.ParseDuration(annotations[spec.Group+"/progress-deadline"]); err == nil && d > 0 {
		return d
	}
	return 10 * time.Minute
}
