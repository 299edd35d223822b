package reason_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"pgregory.net/rapid"

	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/state"
	"selvedge.dev/sdk/store"
)

// script makes a script that has state.
func (w *world) script(id string) string {
	w.t.Helper()
	return w.create(id, &reasonv1.Script{Sink: &reasonv1.Script_Function{Function: "f"}}).GetName()
}

// counters are what the store counts of the state of scripts.
func (w *world) counters() map[string]int64 {
	w.t.Helper()
	snapshot, _, err := w.store.Driver().Snapshot(w.ctx)
	require.NoError(w.t, err)
	c, err := snapshot.Counters(w.ctx, "reason/")
	require.NoError(w.t, err)
	require.NoError(w.t, snapshot.Close())
	return c
}

// State is as a map would be, with versions and ends, whatever is done to it in
// whatever order; and it is counted right. SPEC C7
func TestStates_Model(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	type value struct {
		text    string
		version int64
		until   time.Time
	}
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		script := w.script(fmt.Sprint("s", n))
		model := map[string]value{}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "key")
			device := rapid.SampledFrom([]string{"", "projects/p/devices/d"}).Draw(r, "device")
			at := device + key
			is := model[at]
			if !is.until.IsZero() && !is.until.After(w.clock()) {
				is = value{}
			}
			var want *int64
			switch rapid.IntRange(0, 3).Draw(r, "version") {
			case 0:
				want = new(is.version)
			case 1:
				want = new(is.version + 1)
			}
			right := want == nil || *want == is.version
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				text, ttl := rapid.StringN(0, 9, 40).Draw(r, "text"), rapid.IntRange(0, 3).Draw(r, "ttl")
				req := &reasonv1.PutStateRequest{Name: script, Device: device, Key: key, Value: []byte(text), IfVersion: want}
				if ttl > 0 {
					req.Ttl = durationpb.New(time.Duration(ttl) * time.Minute)
				}
				out, err := do[*reasonv1.State](w, "PutState", req)
				if !right {
					require.Equal(t, "OTHER_VERSION", fault.ReasonOf(err))
					continue
				}
				require.NoError(t, err)
				require.NotEqual(t, is.version, out.GetVersion())
				v := value{text: text, version: out.GetVersion()}
				if ttl > 0 {
					v.until = w.clock().Add(time.Duration(ttl) * time.Minute)
				}
				model[at] = v
			case 1:
				_, err := do[*emptypb.Empty](w, "DeleteState", &reasonv1.DeleteStateRequest{Name: script, Device: device, Key: key, IfVersion: want})
				if !right {
					require.Equal(t, "OTHER_VERSION", fault.ReasonOf(err))
					continue
				}
				require.NoError(t, err)
				delete(model, at)
			case 2:
				w.pass(time.Duration(rapid.IntRange(0, 90).Draw(r, "seconds")) * time.Second)
				if rapid.Bool().Draw(r, "sweep") {
					require.NoError(t, w.Sweep(w.ctx))
				}
			default:
				out, err := do[*reasonv1.State](w, "GetState", &reasonv1.GetStateRequest{Name: script, Device: device, Key: key})
				if is.version == 0 {
					require.Equal(t, "NO_STATE", fault.ReasonOf(err))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, is.text, string(out.GetValue()))
				require.Equal(t, is.version, out.GetVersion())
			}
		}
	})
	w.pass(time.Hour)
	require.NoError(t, w.Sweep(w.ctx))
	// What is left is what has no end, and that is what is counted.
	left := int64(0)
	snapshot, _, err := w.store.Driver().Snapshot(w.ctx)
	require.NoError(t, err)
	left, err = snapshot.Count(w.ctx, store.Scan{Type: reasonv1.StateType})
	require.NoError(t, err)
	require.NoError(t, snapshot.Close())
	counted := int64(0)
	for name, c := range w.counters() {
		if name[len(name)-len("entries"):] == "entries" {
			counted += c
		}
	}
	require.Equal(t, left, counted)
}

// Who counts at once by the helper counts right, for each device by itself.
func TestState_Update(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	all := state.New(caller{w}, w.script("s"))
	one := all.Of("projects/p/devices/d")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if err := state.Update(w.ctx, one, "n", func(n *int) error { *n++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	version, err := one.Get(w.ctx, "n", &n)
	require.NoError(t, err)
	require.Equal(t, 20, n)
	version, err = one.CompareAndSet(w.ctx, "n", version, 1)
	require.NoError(t, err)
	_, err = one.CompareAndSet(w.ctx, "n", version-1, 2)
	require.Equal(t, "OTHER_VERSION", fault.ReasonOf(err))
	version, err = all.Get(w.ctx, "n", &n)
	require.NoError(t, err)
	require.Zero(t, version)
	require.NoError(t, one.Delete(w.ctx, "n"))
	require.NoError(t, one.For(time.Minute).Put(w.ctx, "n", 3))
	version, err = one.Get(w.ctx, "n", &n)
	require.NoError(t, err)
	require.NotZero(t, version)
	w.pass(time.Hour)
	version, err = one.Get(w.ctx, "n", &n)
	require.NoError(t, err)
	require.Zero(t, version)
}

// State is a script's own, small, and goes with it.
func TestStates_Bounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	script := w.script("s")
	put := func(req *reasonv1.PutStateRequest) error {
		_, err := do[*reasonv1.State](w, "PutState", req)
		return err
	}
	require.Equal(t, fault.Invalid, fault.KindOf(put(&reasonv1.PutStateRequest{Name: script, Key: "k", Value: make([]byte, 65537)})))
	require.Equal(t, fault.Invalid, fault.KindOf(put(&reasonv1.PutStateRequest{Name: script})))
	require.Equal(t, "INVALID_TTL", fault.ReasonOf(put(&reasonv1.PutStateRequest{Name: script, Key: "k", Ttl: durationpb.New(-1)})))
	require.Equal(t, "INVALID_DEVICE", fault.ReasonOf(put(&reasonv1.PutStateRequest{Name: script, Key: "k", Device: "projects/q/devices/d"})))
	require.Equal(t, fault.NotFound, fault.KindOf(put(&reasonv1.PutStateRequest{Name: "projects/p/scripts/none", Key: "k"})))

	// As if there was as much as there may be.
	require.NoError(t, put(&reasonv1.PutStateRequest{Name: script, Key: "k", Value: make([]byte, 1000)}))
	uid := ""
	require.NoError(t, w.store.Run(w.ctx, store.Transaction, func(ctx context.Context) error {
		s, err := w.Script(ctx, resource.Name(script))
		if err != nil {
			return err
		}
		uid = s.GetMetadata().GetUid()
		tx, _ := w.store.TxOf(ctx)
		tx.Count("reason/"+uid+"/bytes", 64<<20-2000, -1)
		return nil
	}))
	require.Equal(t, "STATE_FULL", fault.ReasonOf(put(&reasonv1.PutStateRequest{Name: script, Key: "l", Value: make([]byte, 1000)})))
	require.NoError(t, put(&reasonv1.PutStateRequest{Name: script, Key: "k", Value: make([]byte, 900)}), "less is always taken")

	_, err := do[*resourcev1.DeletionPlan](w, "DeleteScript", &reasonv1.DeleteScriptRequest{Name: script})
	require.NoError(t, err)
	w.script("s")
	_, err = do[*reasonv1.State](w, "GetState", &reasonv1.GetStateRequest{Name: script, Key: "k"})
	require.Equal(t, "NO_STATE", fault.ReasonOf(err), "another script of the name has state of its own")
	require.NoError(t, put(&reasonv1.PutStateRequest{Name: script, Key: "mine"}))
	require.NoError(t, w.SweepOrphans(w.ctx))
	require.Zero(t, w.counters()["reason/"+uid+"/entries"])
	_, err = do[*reasonv1.State](w, "GetState", &reasonv1.GetStateRequest{Name: script, Key: "mine"})
	require.NoError(t, err)
}
