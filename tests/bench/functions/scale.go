package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// idle is how soon a function goes to sleep for these measurements.
const idle = "6s"

// cold waits until the function has gone to sleep, and wakes it; several times.
func (t *target) cold(ctx context.Context, f *figures, round int) error {
	if err := t.annotate(ctx, `"autoscaling.knative.dev/window":"`+idle+`"`); err != nil {
		return err
	}
	if round == 0 {
		if err := t.asleep(ctx, f); err != nil {
			return err
		}
	}
	times := make([]float64, t.colds)
	for i := range times {
		err := t.instances(ctx, 0)
		if err == nil {
			err = pause(ctx, settled) // until nobody takes those that drain for instances
		}
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := t.ask(ctx, "cold"); err != nil {
			return err
		}
		times[i] = time.Since(begin).Seconds() * 1000
		f.say(t, "a cold start: %.4g ms", times[i])
	}
	f.addAll(t, "cold start", "ms", times)
	return nil
}

// asleep measures what memory there is in use without the function, once no instance
// drains any more.
func (t *target) asleep(ctx context.Context, f *figures) error {
	if err := t.pods(ctx, func(ready, others, gone int) bool { return ready+others+gone == 0 }); err != nil {
		return err
	}
	memory, err := t.memory()
	if err == nil {
		f.add(t, "memory of the platform", "MB", float64(memory)/1e6)
	}
	return err
}

// crowd is how many instances are looked at for what one takes.
const crowd = 6

// waiting measures what an instance takes that waits for requests.
func (t *target) waiting(ctx context.Context, f *figures, _ int) error {
	if err := t.annotate(ctx, fmt.Sprintf(`"autoscaling.knative.dev/min-scale":"%d"`, crowd)); err != nil {
		return err
	}
	err := t.instances(ctx, crowd)
	if err == nil {
		err = pause(ctx, settled)
	}
	if err != nil {
		return err
	}
	memory, err := t.instance()
	if err != nil {
		return err
	}
	f.add(t, "memory of an instance that waits", "MB", float64(memory)/1e6)
	return t.annotate(ctx, `"autoscaling.knative.dev/min-scale":"0"`)
}

// settled is after how long what started or went is held to have done so.
const settled = 2 * time.Second

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
	_, err = t.kubectl(ctx, "wait", "--for=jsonpath={.status.observedGeneration}="+generation, "ksvc/"+function, "--timeout=60s")
	if err == nil {
		_, err = t.kubectl(ctx, "wait", "--for=condition=Ready", "ksvc/"+function, "--timeout=60s")
	}
	return err
}

// newest is the newest revision of the function; the others are deleted, which would
// take their time to go.
func (t *target) newest(ctx context.Context) (string, error) {
	name, err := t.kubectl(ctx, "get", "ksvc", function, "-o", "jsonpath={.status.latestReadyRevisionName}")
	if err != nil {
		return "", err
	}
	all, err := t.kubectl(ctx, "get", "revisions", "-l", "serving.knative.dev/service="+function, "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return "", err
	}
	older := slices.DeleteFunc(strings.Fields(all), func(n string) bool { return n == name })
	if len(older) > 0 {
		_, err = t.kubectl(ctx, append([]string{"delete", "revisions", "--wait=false", "--ignore-not-found"}, older...)...)
	}
	return name, err
}

// instances waits until the function has as many instances, all of them ready and of
// its newest revision. Those that drain do not count: Kubernetes has each do so for
// half a minute.
func (t *target) instances(ctx context.Context, n int) error {
	return t.pods(ctx, func(ready, others, _ int) bool { return ready == n && others == 0 })
}

// pods waits until the numbers of pods are right: those of the newest revision that are
// ready, others, and those that drain.
func (t *target) pods(ctx context.Context, right func(ready, others, gone int) bool) error {
	newest, err := t.newest(ctx)
	if err != nil {
		return err
	}
	var state string
	for late := time.Now().Add(sleepless); time.Now().Before(late); {
		state, err = t.kubectl(ctx, "get", "pods", "-l", "serving.knative.dev/service="+function,
			"-o", `jsonpath={range .items[*]}{.metadata.name}|{.metadata.labels.serving\.knative\.dev/revision}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.deletionTimestamp}{"\n"}{end}`)
		if err != nil {
			return err
		}
		ready, others, gone := 0, 0, 0
		for line := range strings.Lines(state) {
			switch pod := strings.Split(strings.TrimSpace(line), "|"); {
			case len(pod) != 4:
				return fmt.Errorf("what is a pod here: %q", line)
			case pod[3] != "":
				gone++
			case pod[1] == newest && pod[2] == "True":
				ready++
			default:
				others++
			}
		}
		if right(ready, others, gone) {
			return nil
		}
		if err := pause(ctx, time.Second/2); err != nil {
			return err
		}
	}
	return fmt.Errorf("the function has not as many instances of %s as it should after %v, but (name, revision, ready, deleted)\n%s", newest, sleepless, state)
}

// sleepless bounds how long a function takes to scale: its window, and what the
// control plane needs.
const sleepless = 90 * time.Second

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), context.Cause(ctx))
	case <-time.After(d):
		return nil
	}
}
