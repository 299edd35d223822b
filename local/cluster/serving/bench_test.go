package serving_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/scale"
	"selvedge.dev/sdk/event"
)

// BenchmarkCold is a request to a function that has no instance: the process is
// started for it.
func BenchmarkCold(b *testing.B) {
	r := newRig(b, func(o *serving.Options) {
		o.Scale = scale.Defaults{Window: time.Millisecond}
		o.Tick = time.Millisecond
	})
	r.deploy(manifest("cold", "echo"))
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		require.Eventually(b, func() bool { return r.runner.Running() == 0 && len(r.pods("cold-00001")) == 0 }, 10*time.Second, time.Millisecond)
		b.StartTimer()
		from := time.Now()
		status, _ := r.ask("cold/wait")
		took = append(took, time.Since(from))
		require.Equal(b, http.StatusOK, status)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[(len(took)-1)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkWarm is a request to an instance that is there, through the platform
// and, to see what that costs, to the instance itself.
func BenchmarkWarm(b *testing.B) {
	r := newRig(b, nil)
	r.deploy(manifest("warm", "echo"))
	port := r.get("warm/").Env["PORT"]
	for name, url := range map[string]string{"through": r.server.URL + "/functions/shop/warm/wait", "direct": "http://127.0.0.1:" + port + "/wait"} {
		b.Run(name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Get(url)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			})
		})
	}
	b.Run("sink", func(b *testing.B) {
		e := event.New()
		e.SetID("1")
		e.SetType("test.made")
		e.SetSource("/test")
		to := r.s.Sink("shop", "warm")
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if result := to.Deliver(b.Context(), e); !result.OK() {
					b.Error(result.Err)
					return
				}
			}
		})
	})
}

// BenchmarkDeploy is from the manifest to the service that is ready.
func BenchmarkDeploy(b *testing.B) {
	r := newRig(b, func(o *serving.Options) {
		o.KeepRevisions = 1
		o.Scale = scale.Defaults{Window: 100 * time.Millisecond}
	})
	version := 0
	for b.Loop() {
		version++
		r.deploy(manifest("again", "echo", container("env", `[{"name":"V","value":"`+string(rune('a'+version%26))+time.Now().String()+`"}]`)))
	}
}
