package peering_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// echo gives the answers that it was told to, and keeps the question.
type echo struct {
	asked      any
	lookup     *reference.LookupReply
	dependants *reference.DependantsReply
	release    *reference.ReleaseReply
	err        error
}

var _ reference.Peers = (*echo)(nil)

// Establish implements reference.Peers.
func (e *echo) Establish(_ context.Context, q *reference.EstablishRequest) error {
	e.asked = q
	return e.err
}

// Lookup implements reference.Peers.
func (e *echo) Lookup(_ context.Context, q *reference.LookupRequest) (*reference.LookupReply, error) {
	e.asked = q
	return e.lookup, e.err
}

// Dependants implements reference.Peers.
func (e *echo) Dependants(_ context.Context, q *reference.DependantsRequest) (*reference.DependantsReply, error) {
	e.asked = q
	return e.dependants, e.err
}

// Release implements reference.Peers.
func (e *echo) Release(_ context.Context, q *reference.ReleaseRequest) (*reference.ReleaseReply, error) {
	e.asked = q
	return e.release, e.err
}

// Upgrade implements reference.Peers.
func (e *echo) Upgrade(_ context.Context, q *reference.UpgradeRequest) error {
	e.asked = q
	return e.err
}

// many draws a list of up to three, nil for none.
func many[T any](t *rapid.T, draw func(*rapid.T) T) []T {
	var out []T
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		out = append(out, draw(t))
	}
	return out
}

// text draws any text.
func text(t *rapid.T) string { return rapid.String().Draw(t, "text") }

// yes draws a boolean.
func yes(t *rapid.T) bool { return rapid.Bool().Draw(t, "yes") }

// drawRef draws a name of a type of the service.
func drawRef(t *rapid.T) reference.Ref {
	return reference.Ref{Type: robot, Name: resource.Name(text(t)), Region: text(t)}
}

// drawPolicy draws what becomes of a dependant.
func drawPolicy(t *rapid.T) resourcev1.OnDelete {
	return resourcev1.OnDelete(rapid.Int32Range(0, 6).Draw(t, "policy"))
}

// drawObject draws what is known of a resource.
func drawObject(t *rapid.T) reference.Object {
	return reference.Object{Ref: drawRef(t), UID: text(t), Deleting: yes(t), Leaving: yes(t), Owners: many(t, func(t *rapid.T) reference.Owner {
		return reference.Owner{Ref: drawRef(t), UID: text(t), Unset: yes(t)}
	})}
}

// Whatever is asked arrives as it was, and so does the answer.
func TestClient_CarriesEverything(t *testing.T) {
	t.Parallel()
	e := &echo{}
	c := clientOf("us", serve(t, handler(server("us", e))), "admin")
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		establish := &reference.EstablishRequest{To: in("us"), Source: drawRef(t), Targets: many(t, func(t *rapid.T) reference.Target {
			return reference.Target{Ref: drawRef(t), Path: text(t), OnDelete: drawPolicy(t), UID: text(t)}
		})}
		if len(establish.Targets) > 0 {
			require.NoError(t, c.Establish(ctx, establish))
			require.Equal(t, establish, e.asked)
		}

		lookup := &reference.LookupRequest{To: in("us")}
		e.lookup = &reference.LookupReply{}
		for range rapid.IntRange(1, 3).Draw(t, "items") {
			lookup.Items = append(lookup.Items, reference.LookupItem{Ref: drawRef(t), Target: drawRef(t), Path: text(t)})
			a := reference.Answer{}
			if yes(t) {
				a = reference.Answer{Found: true, Object: drawObject(t), Refers: yes(t)}
			}
			e.lookup.Answers = append(e.lookup.Answers, a)
		}
		found, err := c.Lookup(ctx, lookup)
		require.NoError(t, err)
		require.Equal(t, lookup, e.asked)
		require.Equal(t, e.lookup, found)

		of := &reference.DependantsRequest{To: in("us"), Of: drawRef(t), Owners: yes(t)}
		e.dependants = &reference.DependantsReply{Dependants: many(t, func(t *rapid.T) reference.Dependant {
			return reference.Dependant{Object: drawObject(t), Path: text(t), OnDelete: drawPolicy(t), Unsure: yes(t)}
		})}
		dependants, err := c.Dependants(ctx, of)
		require.NoError(t, err)
		require.Equal(t, of, e.asked)
		require.Equal(t, e.dependants, dependants)

		let := &reference.ReleaseRequest{To: in("us"), Target: drawRef(t), Owner: yes(t), Gone: text(t)}
		e.release = &reference.ReleaseReply{Left: rapid.Int().Draw(t, "left"), Held: text(t)}
		released, err := c.Release(ctx, let)
		require.NoError(t, err)
		require.Equal(t, let, e.asked)
		require.Equal(t, e.release, released)

		upgrade := &reference.UpgradeRequest{To: in("us"), Service: text(t), Version: text(t), Instead: text(t)}
		require.NoError(t, c.Upgrade(ctx, upgrade))
		require.Equal(t, upgrade, e.asked)
	})
}

// lookup asks c for a robot of us.
func lookup(t *testing.T, c reference.Peers) (*reference.LookupReply, error) {
	t.Helper()
	return c.Lookup(t.Context(), &reference.LookupRequest{To: in("us"), Items: []reference.LookupItem{{Ref: refTo("us", "x")}}})
}

// What does not come from the store that was asked is an error, whatever it
// looks like, and never that there is nothing. SPEC 1.F 28
func TestClient_OnlyTheStoreItselfAnswers(t *testing.T) {
	t.Parallel()
	missing := &echo{lookup: &reference.LookupReply{Answers: make([]reference.Answer, 1)}}
	reply, err := lookup(t, clientOf("us", serve(t, handler(server("us", missing))), "admin"))
	require.NoError(t, err)
	require.False(t, reply.Answers[0].Found)

	f := func(reason string, c *peering.Client) {
		t.Helper()
		reply, err := lookup(t, c)
		require.Nil(t, reply)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Equal(t, reason, fault.ReasonOf(err))
		require.EqualError(t, err, "peering.Call: sample.selvedge.dev: sample.selvedge.dev in us cannot be reached", "no word of the network")
	}
	says := func(status int, contentType, body string) string {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
	}
	at := func(url string) *peering.Client { return clientOf("us", url, "admin") }
	us := handler(server("us", missing))
	f("PEER_UNKNOWN", clientOf("eu", serve(t, us), "admin"))
	f("PEER_REFUSED", clientOf("us", serve(t, us), "projects/p"))
	f("PEER_REFUSED", clientOf("us", serve(t, us), "projects/p/devices/d"))
	f("PEER_REFUSED", clientOf("us", serve(t, us), "nobody"))
	f("PEER_REFUSED", clientOf("us", serve(t, us), ""))
	f("PEER_UNREACHABLE", at(serve(t, handler(server("eu", missing)))))
	f("PEER_UNREACHABLE", at(serve(t, handler(server("us", &echo{err: &fault.Error{Kind: fault.NotFound}})))))
	f("PEER_UNREACHABLE", at(serve(t, handler(server("us", &echo{err: &fault.Error{Kind: fault.Conflict, Reason: "VERSION_CHANGED"}})))))
	f("PEER_UNREACHABLE", at(serve(t, handler(server("us", &echo{lookup: &reference.LookupReply{}})))))
	f("PEER_REFUSED", at(says(http.StatusUnauthorized, "text/plain", "who are you?")))
	f("PEER_REFUSED", at(says(http.StatusForbidden, "text/html", "<html>")))
	f("PEER_UNREACHABLE", at(says(http.StatusNotFound, "text/plain", "404 page not found")))
	f("PEER_UNREACHABLE", at(says(http.StatusNotFound, "application/json", `{"code":"not_found"}`)))
	f("PEER_UNREACHABLE", at(says(http.StatusBadGateway, "text/html", "<html>")))
	f("PEER_UNREACHABLE", at(says(http.StatusOK, "text/html", "<html>sign in</html>")))
	f("PEER_UNREACHABLE", at(says(http.StatusOK, "application/proto", "\xff")))
	f("WRONG_STORE", at(says(http.StatusOK, "application/proto", "")))
	f("WRONG_STORE", at(says(http.StatusOK, "application/proto", "\x12\x00"))) // one answer, nobody's
	f("PEER_UNREACHABLE", at("http://127.0.0.1:1"))

	// It does not go where it is sent: the key is for one address.
	var led atomic.Int64
	elsewhere := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	for _, status := range []int{http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		f("PEER_UNREACHABLE", at(serve(t, http.RedirectHandler(elsewhere, status))))
	}
	require.Zero(t, led.Load())

	slow := make(chan struct{})
	hung := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-slow }))
	t.Cleanup(func() { close(slow) })
	f("PEER_UNREACHABLE", peering.NewClient(peering.Options{Platforms: map[string]peering.Platform{"us": {URL: hung}}, Met: met, Timeout: 50 * time.Millisecond}))
}

// silent answers nothing, and counts who waits for it.
type silent struct{ calls int }

// RoundTrip implements http.RoundTripper.
func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls++
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A region that keeps its callers waiting is not asked by each of them, and is
// asked again.
func TestClient_SilentRegion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &silent{}
		var log bytes.Buffer
		c := peering.NewClient(peering.Options{
			Platforms: map[string]peering.Platform{"us": {URL: "http://us.example.com", Key: "secret"}}, HTTP: &http.Client{Transport: s},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		begin := time.Now()
		f := func(calls int, took time.Duration) {
			t.Helper()
			_, err := lookup(t, c)
			require.Equal(t, "PEER_UNREACHABLE", fault.ReasonOf(err))
			require.Equal(t, calls, s.calls)
			require.Equal(t, took, time.Since(begin))
		}
		f(1, 10*time.Second)
		for range 100 {
			f(1, 10*time.Second)
		}
		time.Sleep(10 * time.Second) // in the bubble
		f(2, 30*time.Second)
		require.Equal(t, 1, strings.Count(log.String(), "\n"), "it is said once")
		require.NotContains(t, log.String(), "secret")

		// A caller who has no time says nothing about the region.
		time.Sleep(10 * time.Second)
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Release(hasty, &reference.ReleaseRequest{To: in("us")})
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		f(4, 51*time.Second)
	})
}

// A Server answers about its own region and services, and nobody but platforms.
func TestServer_Refuses(t *testing.T) {
	t.Parallel()
	e := &echo{lookup: &reference.LookupReply{Answers: make([]reference.Answer, 1)}}
	none := peering.NewServer(peering.ServerOptions{Region: "us", Answers: e})
	for _, m := range none.Schema().Methods {
		require.Equal(t, "reference.peers.call", m.Permission)
		_, err := none.Call(t.Context(), m, m.Input.New().Interface())
		require.Equal(t, fault.Denied, fault.KindOf(err), "without a policy nobody may")
		require.Equal(t, fault.Unsupported, fault.KindOf(none.Stream(t.Context(), m, nil, nil)))
	}
	c := clientOf("us", serve(t, handler(server("us", e))), "admin")
	f := func(q *reference.LookupRequest) {
		t.Helper()
		_, err := c.Lookup(t.Context(), q)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Nil(t, e.asked)
	}
	f(&reference.LookupRequest{To: reference.Address{Service: "other.selvedge.dev", Region: "us"}, Items: []reference.LookupItem{{Ref: refTo("us", "x")}}})
	err := c.Upgrade(t.Context(), &reference.UpgradeRequest{To: reference.Address{Service: "other.selvedge.dev", Region: "us"}, Service: service})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Nil(t, e.asked)
	f(&reference.LookupRequest{To: in("us"), Items: []reference.LookupItem{{Ref: reference.Ref{Type: "records.selvedge.dev/Cursor", Name: "cursors/x"}}}})
}

// A list longer than a request may be goes in several.
func TestClient_ManyItems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	require.NoError(t, w.us.save("x", nil))
	q := &reference.LookupRequest{To: in("us")}
	for range 2500 {
		q.Items = append(q.Items, reference.LookupItem{Ref: refTo("us", "x")})
	}
	c := clientOf("us", serve(t, w.us.door), "admin")
	reply, err := c.Lookup(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, reply.Answers, 2500)
	require.True(t, reply.Answers[2499].Found)
}

// The same script has the same outcome over RPC as in the process, step by step.
func TestClient_AsLocal(t *testing.T) {
	t.Parallel()
	script := func(local *reference.Local) []string {
		w := newWorld(t, local)
		var out []string
		note := func(err error) {
			var e *fault.Error
			if errors.As(err, &e) {
				out = append(out, e.Kind.String()+" "+e.Reason+" "+e.Field+" "+e.Name+" "+e.Message())
			} else {
				require.NoError(t, err)
				out = append(out, "ok")
			}
			for _, s := range []*site{w.eu, w.us} {
				for _, id := range []string{"x", "y", "led", "part", "owned", "blocked", "late"} {
					if m := s.get(id); m != nil {
						out = append(out, s.region+" "+id+" "+m.GetSpec().String()+" "+m.GetMetadata().GetLifecycle().String())
					}
				}
			}
		}
		leader := func(id string) *samplev1.RobotSpec { return &samplev1.RobotSpec{Leader: string(nameIn("us", id))} }
		note(w.us.save("x", nil))
		note(w.us.save("y", nil))
		note(w.eu.save("led", leader("nobody")))
		note(w.eu.save("led", leader("x")))
		note(w.eu.save("part", &samplev1.RobotSpec{Host: string(nameIn("us", "x"))}))
		note(w.eu.save("owned", nil, owner("us", "x"), owner("us", "y")))
		w.pass(2 * time.Minute)
		note(w.us.remove("x"))
		note(w.eu.save("late", leader("x"))) // it is on its way out
		w.pass(2 * time.Minute)
		note(w.us.remove("y"))
		w.pass(2 * time.Minute)
		note(nil)
		out = append(out, w.eu.reason("led"), w.eu.reason("part"))
		return out
	}
	local := script(&reference.Local{})
	require.Equal(t, local, script(nil))
	require.Contains(t, local, "INVALID_ARGUMENT BROKEN_REFERENCE spec.leader projects/p/regions/eu/robots/led spec.leader: projects/p/regions/us/robots/nobody does not exist")
}

// An owner in another region: it may come later, its end is the ownee's, and
// that it cannot be asked about is not its end. SPEC 1.F 16, 20, 28
func TestPeering_Owners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	require.NoError(t, w.eu.save("early", nil, owner("us", "later")))
	require.NoError(t, w.us.save("o", nil))
	require.NoError(t, w.eu.save("owned", nil, owner("us", "o")))
	require.NoError(t, w.eu.save("orphan", nil, owner("us", "never")))
	w.settle()
	require.NoError(t, w.us.save("later", nil))

	for _, away := range []http.HandlerFunc{
		http.NotFound,
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		handler(server("eu", w.eu.ctl)).ServeHTTP, // the address of somebody else
	} {
		w.us.door.close(away)
		w.pass(30 * time.Minute)
		for _, id := range []string{"early", "owned", "orphan"} {
			require.NotNil(t, w.eu.get(id), id)
		}
		require.Contains(t, w.eu.ctl.Stats().Waiting[nameIn("eu", "orphan")], "cannot be reached")
	}
	w.us.door.close(nil)
	w.pass(15 * time.Minute)
	require.Nil(t, w.eu.get("orphan"))
	require.Contains(t, w.eu.reason("orphan"), "owner projects/p/regions/us/robots/never of sample.selvedge.dev has been missing for")
	require.NotEmpty(t, w.eu.get("early").GetMetadata().GetOwnerReferences()[0].GetUid())

	uid := w.us.get("o").GetMetadata().GetUid()
	w.eu.door.close(http.NotFound)
	require.NoError(t, w.us.remove("o"), "ownees block nobody")
	w.pass(2 * time.Minute)
	require.NotNil(t, w.eu.get("owned"), "nobody told it yet")
	w.eu.door.close(nil)
	w.pass(2 * time.Minute)
	require.Nil(t, w.eu.get("owned"))
	require.Equal(t, "owner projects/p/regions/us/robots/o of sample.selvedge.dev is gone (uid "+uid+"); it was the last of 1", w.eu.reason("owned"))
	require.NotNil(t, w.eu.get("early"))
}
