// Command access measures decisions about permissions: what one costs in memory,
// with 100,000 bindings there, and how long it takes until a revocation bites, in
// the platform that answered it and, with -database, in another one on the same
// PostgreSQL database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/tests/process"
)

const (
	// bindings are as many as are in memory, rounds how often a revocation is
	// timed.
	bindings = 100_000
	rounds   = 20
	// patience is how long a change may take before it counts as lost.
	patience = 10 * time.Second
)

// main runs the measurements.
func main() {
	program := flag.String("program", "", "the selvedge program to measure; built from the sources by default")
	database := flag.String("database", "", "connection string of an empty PostgreSQL database for two platforms; without one there is one platform")
	flag.Parse()
	if err := run(context.Background(), *program, *database); err != nil {
		fmt.Fprintln(os.Stderr, "access:", err)
		os.Exit(1)
	}
}

// run does the measurements.
func run(ctx context.Context, program, database string) (err error) {
	if err := decisions(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "selvedge-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of value
	if program == "" {
		if program, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
	}
	var args []string
	names := []string{"here"}
	if database != "" {
		args, names = []string{"--database", database}, append(names, "in another process")
	}
	var platforms []*process.Platform
	for i := range names {
		p, err := process.Start(ctx, program, filepath.Join(dir, fmt.Sprint(i)), args...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Kill()) }()
		platforms = append(platforms, p)
	}
	for i, name := range names {
		if err := revocations(ctx, platforms[0], platforms[i], fmt.Sprint("robot", i), name); err != nil {
			return err
		}
	}
	return nil
}

// decisions measures decisions.
func decisions() error {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := access.New(access.Options{Implied: iam.Implied})
	a, err := iam.NewAuthorizer(e)
	if err != nil {
		return err
	}
	for i := range bindings {
		if err := e.SetBinding(access.Binding{
			Name: fmt.Sprintf("projects/p%d/roleBindings/b", i), Scope: fmt.Sprintf("projects/p%d", i), Role: iam.ProjectEditor,
			Members: []string{fmt.Sprintf("serviceAccount:projects/p%d/serviceAccounts/s", i)},
		}); err != nil {
			return err
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	fmt.Printf("%d bindings: %d MB\n", bindings, (after.HeapAlloc-before.HeapAlloc)>>20)
	p, err := iam.ParsePrincipal("projects/p7/serviceAccounts/s")
	if err != nil {
		return err
	}
	ctx := iam.WithAddress(iam.WithPrincipal(context.Background(), p), netip.MustParseAddr("10.0.0.1"))
	allowed := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if err := a.Allow(ctx, "devices.devices.get", "projects/p7/devices/d"); err != nil {
				b.Fatal(err)
			}
		}
	})
	denied := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if a.Allow(ctx, "devices.devices.get", "projects/p8/devices/d") == nil {
				b.Fatal("allowed")
			}
		}
	})
	fmt.Printf("a decision: %.1f µs to allow, %.1f µs to deny\n", float64(allowed.NsPerOp())/1e3, float64(denied.NsPerOp())/1e3)
	runtime.KeepAlive(e)
	return nil
}

// revocations times how long after the answer of one platform a revocation bites
// at another, which may be the same.
func revocations(ctx context.Context, at, elsewhere *process.Platform, id, name string) error {
	admin := &client.Client{URL: at.URL, Key: process.AdminKey, HTTP: at.HTTP}
	account := "projects/p/serviceAccounts/" + id
	var key struct{ Secret string }
	for _, c := range []struct {
		path  string
		query url.Values
		out   any
	}{
		{"/v1/projects/p/serviceAccounts", url.Values{"serviceAccountId": {id}}, nil},
		{"/v1/" + account + "/serviceAccountKeys", nil, &key},
	} {
		if err := admin.Call(ctx, http.MethodPost, c.path, c.query, map[string]any{}, c.out); err != nil {
			return err
		}
	}
	robot := &client.Client{URL: elsewhere.URL, Key: key.Secret, HTTP: elsewhere.HTTP}
	until := func(denied bool) (time.Duration, error) {
		begin := time.Now()
		for time.Since(begin) < patience {
			err := robot.Call(ctx, http.MethodGet, "/v1/projects/p/devices", nil, nil, nil)
			if err != nil && fault.KindOf(err) != fault.Denied {
				return 0, err
			}
			if (err != nil) == denied {
				return time.Since(begin), nil
			}
		}
		return 0, fmt.Errorf("a change did not come through in %s", patience)
	}
	var took []time.Duration
	for i := range rounds {
		binding := map[string]any{"role": "services/iam.selvedge.dev/roles/viewer", "members": []string{"serviceAccount:" + account}}
		query := url.Values{"roleBindingId": {fmt.Sprint(id, "-", i)}}
		if err := admin.Call(ctx, http.MethodPost, "/v1/projects/p/roleBindings", query, binding, nil); err != nil {
			return err
		}
		if _, err := until(false); err != nil {
			return err
		}
		if err := admin.Call(ctx, http.MethodDelete, "/v1/projects/p/roleBindings/"+query.Get("roleBindingId"), nil, nil, nil); err != nil {
			return err
		}
		d, err := until(true)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	fmt.Printf("a revocation bites %s, with the call that is refused, after %s (median), %s (slowest)\n",
		name, took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
	return nil
}
