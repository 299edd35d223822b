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
	if _, err := t.kubectl(ctx, "wait", "--for=condition=Ready", "broker/default", "trigger/to", "trigger/back", "--timeout=60s"); err != nil {
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
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s does not answer an event within %v", url, patience))
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
		return 0, "", errors.Join(err, context.Cause(ctx))
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Ce-Id"), errors.Join(err, resp.Body.Close())
}

// measure does one round. What cannot be measured is noted, and the rest is done.
func (t *target) measure(ctx context.Context, f *figures, round int) {
	for _, part := range []struct {
		name string
		do   func(context.Context, *figures, int) error
	}{{"deploy", t.again}, {"warm requests", t.alone(t.warm)}, {"many requests", t.alone(t.many)}, {"events", t.through}, {"cold starts", t.cold}, {"waiting instances", t.waiting}} {
		if ctx.Err() != nil {
			return // the run says why
		}
		if err := part.do(ctx, f, round); err != nil {
			f.fail(t, fmt.Errorf("round %d: %s: %w", round+1, part.name, err))
		}
	}
}

// again deploys once more.
func (t *target) again(ctx context.Context, f *figures, _ int) error {
	took, err := t.deploy(ctx)
	if err == nil {
		f.add(t, "deploy to first reply", "s", took.Seconds())
	}
	return err
}

// warm asks one after another.
func (t *target) warm(ctx context.Context, f *figures, _ int) error {
	c, err := t.caller(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	times := make([]float64, t.requests)
	for i := range times {
		begin := time.Now()
		if err := c.ask(strconv.Itoa(i)); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		times[i] = time.Since(begin).Seconds() * 1000
	}
	f.addAll(t, "warm request", "ms", times)
	return nil
}

// many asks many at once.
func (t *target) many(ctx context.Context, f *figures, _ int) error {
	g, asking := errgroup.WithContext(ctx)
	var next atomic.Int64
	begin, n := time.Now(), t.requests*5
	for range publishers {
		g.Go(func() error {
			c, err := t.caller(asking)
			if err != nil {
				return err
			}
			defer c.close()
			for i := int(next.Add(1)); i <= n && asking.Err() == nil; i = int(next.Add(1)) {
				if err := c.ask(strconv.Itoa(i)); err != nil {
					return fmt.Errorf("request %d: %w", i, err)
				}
			}
			return nil
		})
	}
	err := errors.Join(g.Wait(), ctx.Err()) // a run that is ended has asked less
	if err == nil {
		f.addMore(t, "warm requests, 16 at once", "/s", float64(n)/time.Since(begin).Seconds())
	}
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
	f.addMore(t, "events taken by the broker", "/s", float64(t.events)/taken.Seconds())
	all := make([]string, t.events)
	for i := range all {
		all[i] = name(i+1) + "-warm"
	}
	last, missing := t.got.await(ctx, all)
	f.addMore(t, "events to the function and back", "/s", float64(t.events-missing)/last.Sub(begin).Seconds())
	f.add(t, "events that did not come", "", float64(missing))
	return ctx.Err()
}
