package ingest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/triggers/broker"
)

// Brokers is the door of brokers: POST /brokers/PROJECT/BROKER takes one event,
// in binary or structured mode, and answers as the ingress of a Knative broker
// does: 202 when it is durable, 400 for what is no event, a batch or a path that
// is none of a broker's, 404 for a broker that there is not, 405 for other
// methods, 200 for OPTIONS. Beyond Knative's it answers 401 and 403, 413 for an
// event over its bound, and 429 when the journal is full.
//
// Such an event is matched by triggers as it is: it does not pass the pipeline
// of devices first. What it says in attributes that only the platform sets is
// left out, as they come back when a function posts what it was given.
type Brokers struct {
	// Broker makes events durable.
	Broker Publisher
	// Exists says whether a project has a broker of that name; nil says that it
	// has its default broker and no other.
	Exists func(project, name string) bool
	// Authorize says whether the caller of r has a permission in a project; nil
	// decides by what he is alone.
	Authorize func(r *http.Request, project, permission string) error
	// MayPublish is iam.Authorizer's; nil decides by what the caller is alone.
	MayPublish func(ctx context.Context, source, device string) error
	// Limits bounds the event.
	Limits event.Limits
}

// Routes adds the door to r, which must put an iam.Principal in the context.
func (s *Brokers) Routes(r chi.Router) {
	r.Handle(brokersPath, s)
	r.Handle(brokersPath+"/*", s)
}

// brokersPath begins the paths of brokers.
const brokersPath = "/brokers"

// ServeHTTP implements http.Handler, for a path that begins with /brokers/.
func (s *Brokers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "POST, OPTIONS")
	switch r.Method {
	case http.MethodOptions: // the webhook handshake of CloudEvents
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.Header().Set("WebHook-Allowed-Rate", "*")
		return
	case http.MethodPost:
	default:
		refuseAs(w, http.StatusMethodNotAllowed, &fault.Error{
			Kind: fault.Invalid, Reason: "METHOD_NOT_ALLOWED", Err: fmt.Errorf("a broker does not take %s", r.Method),
		})
		return
	}
	if err := s.take(r); err != nil {
		if kind := fault.KindOf(err); kind == fault.Unsupported {
			refuseAs(w, http.StatusBadRequest, err)
			return
		}
		fault.Write(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// refuseAs answers with the problem of err under another status than that of
// its kind.
func refuseAs(w http.ResponseWriter, status int, err error) {
	p := fault.ProblemOf(err)
	p.Error.Code = status
	fault.WriteProblem(w, p)
}

// take makes the event of a request durable.
func (s *Brokers) take(r *http.Request) error {
	project, name, err := brokerOf(r.URL)
	if err != nil {
		return err
	}
	authorize := s.Authorize
	if authorize == nil {
		authorize = iam.Authorize
	}
	if err := authorize(r, project, iam.Publish); err != nil {
		return err
	}
	items, mode, err := event.FromRequest(r, s.Limits)
	if err != nil {
		return err
	}
	if mode == event.Batch {
		return &fault.Error{Op: "ingest.Brokers", Kind: fault.Unsupported, Reason: "BATCH", Err: fmt.Errorf("a broker takes one event at a time")}
	}
	e := items[0].Event
	if _, ok := broker.Hops(&e); !ok {
		return &fault.Error{Op: "ingest.Brokers", Kind: fault.Invalid, Reason: "TTL_EXPIRED", Field: event.BrokerTTL, Err: fmt.Errorf("the event passed brokers too often")}
	}
	exists := s.Exists
	if exists == nil {
		exists = func(_, name string) bool { return name == broker.DefaultBroker }
	}
	if !exists(project, name) {
		return &fault.Error{Op: "ingest.Brokers", Kind: fault.NotFound, Reason: "NO_SUCH_BROKER", Err: fmt.Errorf("project %s has no broker %s", project, name)}
	}
	mayPublish := s.MayPublish
	if mayPublish == nil {
		mayPublish = func(ctx context.Context, source, device string) error {
			return iam.MayPublish(iam.PrincipalOf(ctx), source, device)
		}
	}
	if err := mayPublish(r.Context(), e.Source(), ""); err != nil {
		return err
	}
	for name := event.FirstReserved(&e); name != ""; name = event.FirstReserved(&e) {
		e.SetExtension(name, nil)
	}
	e.SetExtension(event.Project, project)
	if name != broker.DefaultBroker {
		e.SetExtension(event.Broker, name)
	}
	_, err = s.Broker.Publish(r.Context(), []event.Event{e})
	return err
}

// brokerOf reads the project and the broker of a path.
func brokerOf(u *url.URL) (project, name string, err error) {
	parts := strings.Split(strings.TrimSuffix(u.Path, "/"), "/")
	if len(parts) != 4 || "/"+parts[1] != brokersPath || parts[2] == "" || parts[3] == "" {
		return "", "", &fault.Error{Op: "ingest.Brokers", Kind: fault.Invalid, Reason: "BAD_PATH", Err: fmt.Errorf("%q is not the path of a broker, %s/PROJECT/BROKER", u.Path, brokersPath)}
	}
	return parts[2], parts[3], nil
}
