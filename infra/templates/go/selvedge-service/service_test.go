package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	visitsv1 "selvedge.dev/api/visits/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store/sqlite"
)

// world is the service over an empty database, and somebody who may do everything.
type world struct {
	t   *testing.T
	s   *Service
	set *service.Set
	ctx context.Context
}

// start starts the service, with its controller, until the test ends.
func start(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	driver, err := sqlite.OpenDriver(ctx, filepath.Join(t.TempDir(), "visits.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: iam.WithPrincipal(ctx, iam.Principal{Kind: iam.Admin, Name: "admin"})}
	if w.s, err = NewService(ctx, Options{Driver: driver, Region: "local", Authorize: service.Allow}); err != nil {
		t.Fatal(err)
	}
	if w.set, err = service.NewSet(w.s.Service); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// try calls a method.
func (w *world) try(method string, req proto.Message) (proto.Message, error) {
	w.t.Helper()
	_, m, ok := w.set.Find("visits.v1." + method)
	if !ok {
		w.t.Fatalf("there is no method %s", method)
	}
	return w.s.Call(w.ctx, m, req)
}

// call calls a method that must succeed.
func (w *world) call(method string, req proto.Message) proto.Message {
	w.t.Helper()
	out, err := w.try(method, req)
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return out
}

// visit makes a visit to the site.
func (w *world) visit(id, site string) {
	w.t.Helper()
	w.call("VisitService.CreateVisit", &visitsv1.CreateVisitRequest{Parent: "projects/p", VisitId: id, Visit: &visitsv1.Visit{Site: "projects/p/sites/" + site}})
}

// over says whether a visit is over.
func (w *world) over(id string, done bool) error {
	w.t.Helper()
	_, err := w.try("VisitService.UpdateVisit", &visitsv1.UpdateVisitRequest{
		Visit: &visitsv1.Visit{Name: "projects/p/visits/" + id, Done: done}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"done"}},
	})
	return err
}

// errSeen ends a watch.
var errSeen = errors.New("what was waited for was seen")

// open watches the site until the controller has counted so many visits to it.
func (w *world) open(site string, want int32) {
	w.t.Helper()
	_, m, ok := w.set.Find("visits.v1.SiteService.WatchSite")
	if !ok {
		w.t.Fatal("sites cannot be watched")
	}
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	var last *visitsv1.Site
	err := w.s.Stream(ctx, m, &visitsv1.WatchSiteRequest{Name: "projects/p/sites/" + site}, func(msg proto.Message) error {
		change, ok := msg.(*visitsv1.WatchSiteResponse)
		if !ok {
			return fmt.Errorf("a %T came", msg)
		}
		if last = change.GetChanged(); last == nil {
			last = change.GetCurrent()
		}
		if last.GetOpenVisits() == want {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		w.t.Fatalf("the site is %v, and has not %d open visits: %v", last, want, err)
	}
}

// site makes a site.
func (w *world) site(id string) {
	w.t.Helper()
	w.call("SiteService.CreateSite", &visitsv1.CreateSiteRequest{Parent: "projects/p", SiteId: id, Site: &visitsv1.Site{OpenVisits: 7}})
}

// The controller counts what there is, whatever became of it.
func TestController_CountsVisits(t *testing.T) {
	w := start(t)
	w.site("pier")
	w.site("mill")
	w.visit("v1", "pier")
	w.visit("v2", "pier")
	w.visit("v3", "mill")
	w.open("pier", 2)
	w.open("mill", 1)
	if err := w.over("v1", true); err != nil {
		t.Fatal(err)
	}
	w.open("pier", 1)
	w.call("VisitService.DeleteVisit", &visitsv1.DeleteVisitRequest{Name: "projects/p/visits/v2"})
	w.open("pier", 0)
	w.open("mill", 1)
}

// What the proto file says and what the rules say is refused with its reason.
func TestService_Refuses(t *testing.T) {
	w := start(t)
	w.site("pier")
	w.visit("v1", "pier")
	refused := func(want fault.Kind, reason string, err error) {
		t.Helper()
		if fault.KindOf(err) != want || reason != "" && fault.ReasonOf(err) != reason {
			t.Errorf("%v: it is %v %s, not %v %s", err, fault.KindOf(err), fault.ReasonOf(err), want, reason)
		}
	}
	_, err := w.try("VisitService.CreateVisit", &visitsv1.CreateVisitRequest{Parent: "projects/p", Visit: &visitsv1.Visit{}})
	refused(fault.Invalid, "", err)
	_, err = w.try("VisitService.CreateVisit", &visitsv1.CreateVisitRequest{Parent: "projects/p", Visit: &visitsv1.Visit{Site: "projects/p/sites/none"}})
	refused(fault.Invalid, "BROKEN_REFERENCE", err)
	_, err = w.try("SiteService.DeleteSite", &visitsv1.DeleteSiteRequest{Name: "projects/p/sites/pier"})
	refused(fault.Precondition, "", err)
	if err := w.over("v1", true); err != nil {
		t.Fatal(err)
	}
	refused(fault.Precondition, "OVER", w.over("v1", false))
}

// A function that is not configured does not start, and answers nobody.
func TestFunction_NotStarted(t *testing.T) {
	f := New()
	if err := f.Start(t.Context(), map[string]string{"SELVEDGE_URL": "http://127.0.0.1:1"}); err == nil {
		t.Error("it starts without a key")
	}
	answer := httptest.NewRecorder()
	f.Handle(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/projects/p/sites", nil))
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("the status is %d", answer.Code)
	}
	if ready, err := f.Ready(t.Context()); ready || err != nil {
		t.Errorf("it is ready: %v, %v", ready, err)
	}
}

// A function that has started answers those whom the platform knows.
func TestFunction_AsksThePlatform(t *testing.T) {
	platform := httptest.NewServer(http.NotFoundHandler())
	defer platform.Close()
	f := New()
	if err := f.Start(t.Context(), map[string]string{"SELVEDGE_URL": platform.URL, "SELVEDGE_KEY": "key", "TMPDIR": t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	for credentials, want := range map[string]int{"": http.StatusUnauthorized, "Bearer key": http.StatusServiceUnavailable} {
		answer := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/projects/p/sites", nil)
		if credentials != "" {
			r.Header.Set("Authorization", credentials)
		}
		f.Handle(answer, r)
		if answer.Code != want {
			t.Errorf("%q: the status is %d, not %d: %s", credentials, answer.Code, want, answer.Body)
		}
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if alive, err := f.Alive(t.Context()); alive || err != nil {
		t.Errorf("it lives on: %v, %v", alive, err)
	}
}
