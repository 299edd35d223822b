package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/tests/process"
)

// publishers is how many post events and requests at once.
const publishers = 16

// prepare makes the function and what its replies go to.
func (t *target) prepare(ctx context.Context) error {
	root, err := process.Root()
	if err != nil {
		return err
	}
	templates := "file://" + filepath.Join(root, "infra", "templates")
	fn := filepath.Join(t.tools, "func")
	if _, err := t.run(ctx, "", fn, "create", "--language=go", "--repository="+templates, "--template=selvedge-event", t.folder()); err != nil {
		return err
	}
	if err := t.apply(ctx, "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: default}\n"); err != nil {
		return err
	}
	if t.got, err = listen(ctx); err != nil {
		return err
	}
	if err := t.apply(ctx, fmt.Sprintf(`
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: to, namespace: default}
spec:
  broker: default
  filter: {attributes: {type: com.example.climate}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: %s}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: back, namespace: default}
spec:
  broker: default
  filter: {attributes: {type: com.example.warm}}
  subscriber: {uri: "http://%s"}
`, function, net.JoinHostPort(t.host, t.got.port))); err != nil {
		return err
	}
	if _, err := t.deploy(ctx); err != nil { // the first builds everything
		return err
	}
	t.broker, err = t.kubectl(ctx, "get", "broker", "default", "-o", "jsonpath={.status.address.url}")
	return err
}

// folder is where the function is.
func (t *target) folder() string { return filepath.Join(t.dir, function) }

// deploy deploys the function, asks it, and says how long that took.
func (t *target) deploy(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	_, err := t.run(ctx, t.folder(), filepath.Join(t.tools, "func"), "deploy", "--builder=host", "--registry="+t.registry)
	if err != nil {
		return 0, err
	}
	if t.url == "" {
		if t.url, err = t.kubectl(ctx, "get", "ksvc", function, "-o", "jsonpath={.status.url}"); err != nil {
			return 0, err
		}
	}
	err = t.ask(ctx, "deploy")
	return time.Since(begin), err
}

// ask posts an event to the function and wants its reply.
func (t *target) ask(ctx context.Context, id string) error {
	status, reply, err := t.post(ctx, t.url, id)
	if err == nil && (status != http.StatusOK || reply != id+"-warm") {
		err = fmt.Errorf("the function answered %d, %q", status, reply)
	}
	return err
}

// post posts an event, and returns the status and the id of the reply.
func (t *target) post(ctx context.Context, url, id string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"temperature":31}`))
	if err != nil {
		return 0, "", err
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "//bench", "Ce-Type": "com.example.climate", "Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	if t.key != "" && url == t.broker {
		req.Header.Set("Authorization", "Bearer "+t.key)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Ce-Id"), errors.Join(err, resp.Body.Close())
}

// measure does one round.
func (t *target) measure(ctx context.Context, f *figures, round int) error {
	took, err := t.deploy(ctx)
	if err != nil {
		return err
	}
	f.add(t, "deploy to first reply", "s", took.Seconds())
	for _, part := range []func(context.Context, *figures, int) error{t.warm, t.many, t.through, t.cold} {
		if err := part(ctx, f, round); err != nil {
			return err
		}
	}
	return t.waiting(ctx, f)
}

// warm asks one after another.
func (t *target) warm(ctx context.Context, f *figures, _ int) error {
	times := make([]float64, t.requests)
	for i := range times {
		begin := time.Now()
		if err := t.ask(ctx, strconv.Itoa(i)); err != nil {
			return err
		}
		times[i] = time.Since(begin).Seconds() * 1000
	}
	f.addAll(t, "warm request", "ms", times)
	return nil
}

// many asks many at once.
func (t *target) many(ctx context.Context, f *figures, _ int) error {
	begin := time.Now()
	err := t.each(ctx, t.requests*5, func(ctx context.Context, i int) error { return t.ask(ctx, strconv.Itoa(i)) })
	f.addMore(t, "warm requests, 16 at once", "/s", float64(t.requests*5)/time.Since(begin).Seconds())
	return err
}

// each does n things, publishers at once.
func (t *target) each(ctx context.Context, n int, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range publishers {
		g.Go(func() error {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := do(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// through posts events to the broker and waits for the replies of all.
func (t *target) through(ctx context.Context, f *figures, round int) error {
	begin := time.Now()
	name := func(i int) string { return fmt.Sprintf("%s-%d-%d", t.name, round, i) }
	err := t.each(ctx, t.events, func(ctx context.Context, i int) error {
		status, _, err := t.post(ctx, t.broker, name(i))
		if err == nil && status != http.StatusAccepted {
			err = fmt.Errorf("the broker answered %d", status)
		}
		return err
	})
	if err != nil {
		return err
	}
	taken := time.Since(begin)
	for i := range t.events {
		if err := t.got.await(ctx, name(i+1)+"-warm"); err != nil {
			return err
		}
	}
	f.addMore(t, "events taken by the broker", "/s", float64(t.events)/taken.Seconds())
	f.addMore(t, "events to the function and back", "/s", float64(t.events)/time.Since(begin).Seconds())
	return nil
}

// idle is how soon a function goes to sleep for these measurements.
const idle = "6s"

// cold waits until the function has gone to sleep, looks what memory there is in use
// without it, and wakes it; several times.
func (t *target) cold(ctx context.Context, f *figures, round int) error {
	if round == 0 {
		if err := t.annotate(ctx, `"autoscaling.knative.dev/window":"`+idle+`"`); err != nil {
			return err
		}
	}
	times := make([]float64, t.colds)
	for i := range times {
		if err := t.sleep(ctx); err != nil {
			return err
		}
		if i == 0 {
			memory, err := t.memory()
			if err != nil {
				return err
			}
			f.add(t, "memory of the platform", "MB", float64(memory)/1e6)
		}
		begin := time.Now()
		if err := t.ask(ctx, "cold"); err != nil {
			return err
		}
		times[i] = time.Since(begin).Seconds() * 1000
	}
	f.addAll(t, "cold start", "ms", times)
	return nil
}

// annotate sets annotations of the function's revisions, and waits until there is
// one that has them.
func (t *target) annotate(ctx context.Context, annotations string) error {
	patch := `{"spec":{"template":{"metadata":{"annotations":{` + annotations + `}}}}}`
	if _, err := t.kubectl(ctx, "patch", "ksvc", function, "--type=merge", "-p", patch); err != nil {
		return err
	}
	generation, err := t.kubectl(ctx, "get", "ksvc", function, "-o", "jsonpath={.metadata.generation}")
	if err != nil {
		return err
	}
	if _, err := t.kubectl(ctx, "wait", "--for=jsonpath={.status.observedGeneration}="+generation, "ksvc/"+function, "--timeout=120s"); err != nil {
		return err
	}
	_, err = t.kubectl(ctx, "wait", "--for=condition=Ready", "ksvc/"+function, "--timeout=120s")
	return err
}

// sleep waits until the function has no instance.
func (t *target) sleep(ctx context.Context) error { return t.instances(ctx, 0) }

// instances waits until the function has as many instances.
func (t *target) instances(ctx context.Context, n int) error {
	for late := time.Now().Add(patience); time.Now().Before(late); {
		pods, err := t.kubectl(ctx, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}", "-l", "serving.knative.dev/service="+function)
		if err != nil {
			return err
		}
		if len(strings.Fields(pods)) == n {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return fmt.Errorf("the function has not %d instances after %v", n, patience)
}

// crowd is how many instances more are looked at for what one takes.
const crowd = 5

// waiting measures what an instance takes that waits for requests.
func (t *target) waiting(ctx context.Context, f *figures) error {
	var taken [2]int64
	for i, n := range []int{1, 1 + crowd} {
		if err := t.annotate(ctx, fmt.Sprintf(`"autoscaling.knative.dev/min-scale":"%d","autoscaling.knative.dev/window":"%s"`, n, idle)); err != nil {
			return err
		}
		err := t.instances(ctx, n)
		if err == nil {
			err = pause(ctx, 3*time.Second) // until what starts has started
		}
		if err == nil {
			taken[i], err = t.memory()
		}
		if err != nil {
			return err
		}
	}
	f.add(t, "memory of an instance that waits", "MB", float64(taken[1]-taken[0])/crowd/1e6)
	return t.annotate(ctx, `"autoscaling.knative.dev/min-scale":"0"`)
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// recorder takes the replies.
type recorder struct {
	port string
	mu   sync.Mutex
	seen map[string]bool
	news chan struct{}
}

// listen starts a recorder on any port.
func listen(ctx context.Context) (*recorder, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	r := &recorder{port: port, seen: map[string]bool{}, news: make(chan struct{}, 1)}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until the program ends
	return r, nil
}

// ServeHTTP takes a reply.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.seen[req.Header.Get("Ce-Id")] = true
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusAccepted)
}

// await waits for a reply.
func (r *recorder) await(ctx context.Context, id string) error {
	late := time.After(patience)
	for {
		r.mu.Lock()
		has := r.seen[id]
		r.mu.Unlock()
		if has {
			return nil
		}
		select {
		case <-r.news:
		case <-late:
			return fmt.Errorf("the reply %s did not come", id)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
