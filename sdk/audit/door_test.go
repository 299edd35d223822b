package audit_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

func TestDoors_RejectionsAreRecordedAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	before := len(w.activities(0))
	flushed := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, r *http.Request) {
		ctx := iam.WithPrincipal(r.Context(), iam.Principal{Kind: iam.Project, Name: "projects/q", Project: "q"})
		switch r.URL.Query().Get("do") {
		case "deny":
			audit.Of(ctx).Asked(ctx, "events.publish", "projects/p", false)
			fault.Write(w, &fault.Error{Kind: fault.Denied})
		case "grpc":
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(nil)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "16")
		case "broken":
			fault.Write(w, &fault.Error{Kind: fault.Internal})
		default:
			if http.NewResponseController(w).Flush() == nil {
				flushed++
			}
			w.WriteHeader(http.StatusAccepted)
		}
	})
	mux.HandleFunc("GET /call", func(_ http.ResponseWriter, r *http.Request) {
		_, err := w.try(r.Context(), "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
		fault.Write(httptest.NewRecorder(), err)
	})
	h := w.recorder.Doors(w.store, "events.selvedge.dev")(mux)
	post := func(do string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/events?do="+do+"&key=PLANTED-SECRET", nil)
		r.RemoteAddr = "[::ffff:10.0.0.7]:1234"
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, do := range []string{"", "broken", "deny", "grpc"} {
		post(do)
	}
	require.Equal(t, 1, flushed)
	all := w.activities(before)
	require.Len(t, all, 2)
	for _, a := range all {
		require.Equal(t, resourcev1.ActivityLog_REJECTED, a.GetCategory())
		require.Equal(t, []string{"events.selvedge.dev", "10.0.0.7"}, []string{a.GetService(), a.GetClientAddress()})
		require.NotContains(t, a.String(), planted)
		require.Contains(t, a.GetMethod(), "POST /v1/events")
	}
	require.Equal(t, []string{"projects/q", "events.publish"}, []string{all[0].GetPrincipal(), all[0].GetDenied()[0].GetPermission()})
	require.EqualValues(t, 16, all[1].GetStatus().GetCode())

	// A call of a service behind it has one record, its own.
	before = len(w.activities(0))
	passed := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/call", nil)
	passed.Header.Set(iam.RegionHeader, "us")
	h.ServeHTTP(httptest.NewRecorder(), passed)
	all = w.activities(before)
	require.Len(t, all, 1)
	require.Equal(t, []string{"sample.selvedge.dev", "us"}, []string{all[0].GetService(), all[0].GetViaRegion()})
}

func TestEnter_IsRecordedHoweverItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.reads = 0
	before := len(w.activities(0))
	for _, err := range []error{nil, &fault.Error{Kind: fault.NotFound}, &fault.Error{Kind: fault.Denied}} {
		ctx, c := w.recorder.Enter(as("projects/p"), w.store, audit.Door{Service: "audit.selvedge.dev", Called: "GET /v1/auditTrail", About: "projects/p"})
		require.Same(t, c, audit.Of(ctx))
		c.End(ctx, err)
	}
	var got []resourcev1.ActivityLog_Category
	for _, a := range w.activities(before) {
		got = append(got, a.GetCategory())
		require.Equal(t, []string{"projects/p", "projects/p", "GET /v1/auditTrail"}, []string{a.GetPrincipal(), a.GetResource(), a.GetMethod()})
	}
	require.ElementsMatch(t, []resourcev1.ActivityLog_Category{resourcev1.ActivityLog_READ, resourcev1.ActivityLog_CLIENT_ERROR, resourcev1.ActivityLog_REJECTED}, got)
}
