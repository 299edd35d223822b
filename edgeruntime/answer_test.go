package edgeruntime

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

func TestAgent_LostAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := 0
		r.platform.script = func(*post) *http.Response {
			if n++; n%3 != 0 { // two of three answers get lost
				return lostAnswer
			}
			return nil
		}
		r.start(t)
		rest(time.Minute)
		r.platform.set(up)
		rest(time.Minute)
		r.halt(t)
		require.Equal(t, upTo(0, int(r.agent.sampler.n)), r.platform.numbers())
		require.Equal(t, r.agent.sampler.n, r.agent.Status().Delivered)
		require.Zero(t, r.agent.Status().LostTotal())
		again := 0
		for _, p := range r.platform.posts {
			again += len(p.texts)
		}
		require.Greater(t, again, len(r.platform.accepted), "some were sent twice, with the same text, as the platform checks")
	})
}

func TestAgent_TooLargeIsSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.fill(t, some(100)...)
		r.platform.script = func(p *post) *http.Response {
			bad := len(p.texts) == 1 && p.events(t)[0].ID() == "e42"
			if len(p.texts) > 7 || bad {
				return answer(http.StatusRequestEntityTooLarge, "<html>413</html>")
			}
			for _, e := range p.events(t) {
				if e.ID() == "e42" {
					return answer(http.StatusRequestEntityTooLarge, "")
				}
			}
			return nil
		}
		r.start(t)
		rest(time.Second)
		r.halt(t)
		want := append(some(42), some(100)[43:]...)
		require.Equal(t, want, ids(r.platform.accepted)[:99])
		s := r.agent.Status()
		require.Equal(t, map[string]uint64{"REJECTED/OUT_OF_RANGE": 1}, s.Lost)
		require.Zero(t, s.Queue.Pending)
		require.EqualValues(t, 100, s.Delivered, "99 and the reading")
	})
}

func TestAgent_DeniedKeepsEverything(t *testing.T) {
	t.Parallel()
	whole := func(status int) func(*post) *http.Response {
		return func(*post) *http.Response { return answer(status, "no") }
	}
	each := func(p *post) *http.Response {
		var all []string
		for _, e := range p.events(t) {
			all = append(all, fmt.Sprintf(`{"id":%q,"source":%q,"status":"rejected","error":{"code":403,"status":"PERMISSION_DENIED","message":"not your device"}}`, e.ID(), e.Source()))
		}
		return answer(http.StatusOK, "["+strings.Join(all, ",")+"]")
	}
	for name, script := range map[string]func(*post) *http.Response{
		"Unauthenticated": whole(http.StatusUnauthorized), "Denied": whole(http.StatusForbidden), "DeniedOneByOne": each,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.config.fs = newMemory()
				r.platform.script = script
				r.start(t)
				rest(time.Hour)
				s := r.agent.Status()
				require.Equal(t, StateDenied, s.State)
				require.NotEmpty(t, s.Problem)
				require.EqualValues(t, 721, s.Queue.Pending)
				require.LessOrEqual(t, len(r.platform.posts), 121, "not more often than every 30 s")
				require.GreaterOrEqual(t, len(r.platform.posts), 40, "not less often than every 90 s")
				r.platform.set(up)
				rest(2 * time.Minute)
				r.halt(t)
				require.Equal(t, upTo(0, int(r.agent.sampler.n)), r.platform.numbers())
				require.Zero(t, r.agent.Status().LostTotal())
				require.Equal(t, 1, strings.Count(r.log.String(), "state=denied"), "logged once: %s", r.log)
			})
		})
	}
}

func TestAgent_KeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.config.Key, r.config.KeyFile = "", filepath.Join(t.TempDir(), "key")
		r.platform.script = func(p *post) *http.Response {
			if p.key != "new" {
				return answer(http.StatusUnauthorized, "")
			}
			return nil
		}
		r.start(t)
		rest(time.Minute)
		require.Empty(t, r.platform.posts, "without a key there is nothing to say")
		require.Equal(t, StateDenied, r.agent.Status().State)
		require.NoError(t, os.WriteFile(r.config.KeyFile, []byte("\n"), 0o600))
		rest(2 * time.Minute)
		require.Empty(t, r.platform.posts, "nor with an empty one")
		require.NoError(t, os.WriteFile(r.config.KeyFile, []byte("old\n"), 0o600))
		rest(2 * time.Minute)
		require.NotEmpty(t, r.platform.posts)
		require.NoError(t, os.WriteFile(r.config.KeyFile, []byte(" new\n"), 0o600))
		rest(2 * time.Minute)
		r.halt(t)
		require.Equal(t, upTo(0, int(r.agent.sampler.n)), r.platform.numbers())
	})
}

func TestAgent_NoVerdictsKeepEverything(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]func() *http.Response{
		"Down":           func() *http.Response { return answer(http.StatusServiceUnavailable, "") },
		"Broken":         func() *http.Response { return answer(http.StatusInternalServerError, "oops") },
		"Full":           func() *http.Response { return problem(&fault.Error{Kind: fault.Exhausted}) },
		"NotHere":        func() *http.Response { return answer(http.StatusNotFound, "404 page not found") },
		"WrongMethod":    func() *http.Response { return answer(http.StatusMethodNotAllowed, "") },
		"LoginPage":      func() *http.Response { return answer(http.StatusOK, "<html>log in") },
		"Redirect":       func() *http.Response { return answer(http.StatusFound, "", "Location", "http://hotel.test/") },
		"ForeignRefusal": func() *http.Response { return answer(http.StatusBadRequest, "<html>bad") },
		"ForeignProblem": func() *http.Response {
			return answer(http.StatusBadRequest, `{"error":{"code":400,"message":"m","details":[{"domain":"proxy.test"}]}}`)
		},
		"CutShort": func() *http.Response {
			return problem(&fault.Error{Kind: fault.Invalid, Reason: "BODY_CUT_SHORT", Err: errors.New("unexpected EOF")})
		},
		"EmptyList":        func() *http.Response { return answer(http.StatusOK, "[]") },
		"OtherEvents":      func() *http.Response { return answer(http.StatusOK, `[{"id":"x","source":"y","status":"accepted"}]`) },
		"Null":             func() *http.Response { return answer(http.StatusOK, "null") },
		"OneEventAccepted": func() *http.Response { return answer(http.StatusAccepted, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.silent()
				r.fill(t, some(3)...)
				r.platform.script = func(*post) *http.Response { return reply() }
				r.start(t)
				rest(10 * time.Minute)
				s := r.agent.Status()
				require.Equal(t, StateRetrying, s.State)
				require.EqualValues(t, 4, s.Queue.Pending)
				require.Zero(t, s.LostTotal())
				require.Greater(t, len(r.platform.posts), 10, "it does not give up")
				r.platform.set(up)
				rest(2 * time.Minute)
				r.halt(t)
				require.Equal(t, some(3), ids(r.platform.accepted)[:3])
			})
		})
	}
}

func TestAgent_RefusedBatchIsSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.fill(t, some(20)...)
		r.platform.script = func(p *post) *http.Response {
			for _, e := range p.events(t) {
				if e.ID() == "e13" {
					return problem(&fault.Error{Kind: fault.Invalid, Reason: "BAD_THING", Err: errors.New("no")})
				}
			}
			return nil
		}
		r.start(t)
		synctest.Wait()
		r.halt(t)
		require.Equal(t, append(some(13), some(20)[14:]...), ids(r.platform.accepted)[:19])
		require.Equal(t, map[string]uint64{"REJECTED/BAD_THING": 1}, r.agent.Status().Lost)
	})
}

func TestAgent_Rejections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.silent()
		r.fill(t, some(10)...)
		r.platform.reject = func(e *event.Event) *fault.Status {
			var st fault.Status
			switch e.ID() {
			case "e1", "e2":
				st = fault.ProblemOf(&fault.Error{Kind: fault.Invalid, Reason: "INVALID_TIME", Err: errors.New("too old")}).Error
			case "e5":
				st = fault.Status{Code: 422, Message: "made up", Details: []fault.Detail{{Reason: "not a word/../x"}}}
			default:
				return nil
			}
			return &st
		}
		r.start(t)
		synctest.Wait()
		r.halt(t)
		want := map[string]uint64{"REJECTED/INVALID_TIME": 2, "REJECTED/INVALID_ARGUMENT": 1}
		require.Equal(t, want, r.agent.Status().Lost)
		require.Equal(t, 1, strings.Count(r.log.String(), "reason=INVALID_TIME"), r.log.String())
		require.Equal(t, 1, strings.Count(r.log.String(), "reason=INVALID_ARGUMENT"))

		r.platform.set(func(p *platform) { p.posts = nil })
		r.start(t)
		synctest.Wait()
		r.halt(t)
		require.Equal(t, want, r.agent.Status().Lost, "they survive a restart")
		require.Len(t, r.platform.posts, 1, "and are not sent again")
		e := r.platform.posts[0].events(t)[0]
		requireFigure(t, &e, "queue/lost/rejected/invalid_time", 2)
	})
}

func TestAgent_PartOfABatch(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]*fault.Status{
		"Full":  {Code: http.StatusTooManyRequests, Status: "RESOURCE_EXHAUSTED"},
		"Later": {Code: http.StatusServiceUnavailable, Status: "UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.silent()
				r.fill(t, some(10)...)
				r.platform.reject = func(e *event.Event) *fault.Status {
					if e.ID() == "e4" {
						return status
					}
					return nil
				}
				r.start(t)
				rest(time.Minute)
				require.EqualValues(t, 7, r.agent.Status().Queue.Pending)
				require.Equal(t, "e4", r.platform.posts[1].events(t)[0].ID())
				r.platform.set(up)
				rest(2 * time.Minute)
				r.halt(t)
				require.Zero(t, r.agent.Status().Queue.Pending)
				require.Zero(t, r.agent.Status().LostTotal())
				require.Len(t, ids(r.platform.accepted), 11)
			})
		})
	}
}

func TestAgent_RetryAfter(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		header func(now time.Time) string
		least  time.Duration
	}{
		"Seconds":  {func(time.Time) string { return "600" }, 600 * time.Second},
		"Date":     {func(now time.Time) string { return now.Add(5 * time.Minute).UTC().Format(http.TimeFormat) }, 299 * time.Second},
		"TooLong":  {func(time.Time) string { return "999999999999" }, maxRetryAfter},
		"Past":     {func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0},
		"Negative": {func(time.Time) string { return "-5" }, 0},
		"Noise":    {func(time.Time) string { return "soon" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.silent()
				r.platform.script = func(p *post) *http.Response {
					return answer(http.StatusTooManyRequests, "", "Retry-After", f.header(p.at))
				}
				r.start(t)
				rest(3 * time.Hour)
				r.halt(t)
				posts := r.platform.posts[:len(r.platform.posts)-1] // without the last flush
				require.GreaterOrEqual(t, len(posts), 2)
				for i := range posts[1:] {
					wait := posts[i+1].at.Sub(posts[i].at)
					require.GreaterOrEqual(t, wait, f.least)
					require.LessOrEqual(t, wait, f.least+maxBackoff+time.Second)
				}
			})
		})
	}
}
