// Package kubeapi is the part of the Kubernetes API that kubectl, client-go and
// Knative's func speak, over the objects of one machine: discovery, the OpenAPI
// document that kubectl asks before it sends anything, reading, writing,
// patching and watching objects, tables for people, the logs of pods, and the
// questions who one is and what one may do.
//
// It knows no type: what kinds there are, what they admit and what people see
// of them is said by the object store. What is not spoken is refused in words
// that say so: server-side apply, protobuf, exec and port forwarding.
//
// A namespace is a project of the platform, and the permission for a request
// is GROUP.PLURAL.VERB in it, GROUP being the first word of the API group, or
// "cluster" for Kubernetes' own: "serving.services.create"; to read secrets it
// is "cluster.secrets.access". What is in all namespaces is asked for on the platform.
package kubeapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// Options configures a server.
type Options struct {
	// Store has the objects.
	Store *object.Store
	// Authorize says whether the caller of r has the permission in the project;
	// a project "" is the platform. Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Who is the name of the caller and the groups that it is in.
	Who func(ctx context.Context) (name string, groups []string)
	// Namespaces are the names of the projects that the caller sees, or the
	// error that it may see none.
	Namespaces func(ctx context.Context) ([]string, error)
	// Logs opens what a container has written; nil if nothing runs here.
	Logs func(ctx context.Context, q LogQuery) (io.ReadCloser, error)
	// Leave gives back the caller's place among the requests in hand: a watch
	// and a log that is followed last. Nil does nothing.
	Leave func(ctx context.Context)
	// Version is the platform's own, for people.
	Version string
	// Logger is told of internal errors; nil discards.
	Logger *slog.Logger
}

// LogQuery asks for the log of one container.
type LogQuery struct {
	Namespace, Pod, Container string
	// Follow goes on until the reader is closed or the container has ended.
	Follow bool
	// Previous is the log of the instance before the last restart.
	Previous bool
	// Timestamps begins each line with its time.
	Timestamps bool
	// Since is the earliest time, if not zero.
	Since time.Time
	// Tail is how many lines from the end are wanted, -1 for all.
	Tail int
	// Limit bounds the bytes, if not 0.
	Limit int64
}

// Prefix is where the API is on the platform's port. A kubeconfig names it.
const Prefix = "/k8s"

// kubernetes is the version of the API that is spoken, for clients that look.
const (
	kubernetesMajor = "1"
	kubernetesMinor = "34"
)

// Server answers the API.
type Server struct {
	Options
	kinds []*object.Kind
	// ending is over when what lasts is to end.
	ending context.Context
	end    context.CancelFunc
}

// New is the server of a store.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Leave == nil {
		o.Leave = func(context.Context) {}
	}
	s := &Server{Options: o, kinds: o.Store.Kinds()}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// End ends watches and logs that are followed, and those that begin: whoever
// stops would otherwise wait for them.
func (s *Server) End() { s.end() }

// Routes adds the API to the platform's port.
func (s *Server) Routes(r chi.Router) {
	r.Mount(Prefix, http.StripPrefix(Prefix, s))
}

// maxBody bounds a request.
const maxBody = 3 << 20

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// serve answers one request, or says why not.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.Trim(r.URL.Path, "/")
	switch path {
	case "healthz", "livez", "readyz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok") // a probe that went away has its answer
		return nil
	case "version":
		return s.write(w, http.StatusOK, map[string]any{
			"major": kubernetesMajor, "minor": kubernetesMinor, "gitVersion": "v" + kubernetesMajor + "." + kubernetesMinor + ".0+selvedge",
			"platform": "selvedge/" + s.Version,
		})
	}
	parts := strings.Split(path, "/")
	switch parts[0] {
	case "openapi":
		return s.openAPI(w, r, parts[1:])
	case "api", "apis":
		if answer, ok := s.discover(parts); ok {
			if r.Method != http.MethodGet {
				return notAllowed(r)
			}
			return s.write(w, http.StatusOK, answer)
		}
		q, err := s.parse(r, parts)
		if err != nil {
			return err
		}
		return s.do(w, r, q)
	}
	return &fault.Error{Op: "kubeapi", Kind: fault.NotFound, Err: errNoSuch}
}

// do answers a request about objects.
func (s *Server) do(w http.ResponseWriter, r *http.Request, q *request) error {
	if review := reviews[q.kind.Key()]; review != nil {
		return s.review(w, r, review)
	}
	if err := s.allow(r, q); err != nil {
		return err
	}
	do, ok := map[string]func(*http.Request, *request) (reply, error){
		"get": s.get, "list": s.list, "create": s.create, "update": s.update, "patch": s.patch, "delete": s.delete, "deletecollection": s.deleteAll,
	}[q.verb]
	switch {
	case q.sub == "log":
		return s.log(w, r, q)
	case q.verb == "watch":
		return s.watch(w, r, q)
	case !ok:
		return notAllowed(r)
	}
	a, err := do(r, q)
	if err != nil {
		return err
	}
	return s.answer(w, r, q, a)
}

// allow asks for the permission for a request. Everybody sees which projects it
// is in.
func (s *Server) allow(r *http.Request, q *request) error {
	switch {
	case q.kind.Key() == namespaceKey:
		return nil
	case s.Authorize == nil:
		return &fault.Error{Op: "kubeapi", Kind: fault.Denied}
	}
	return s.Authorize(r, q.namespace, q.permission())
}
