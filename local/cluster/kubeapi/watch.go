package kubeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// The times of a watch: how long one lasts that does not say, and how often it
// says how far it is.
const (
	watchFor      = 30 * time.Minute
	bookmarkEvery = time.Minute
)

// watch streams the changes of what a request selects. Without a resource
// version, or with 0, it begins with what there is.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q *request) error {
	if q.kind.Key() == namespaceKey {
		return &fault.Error{Op: "kubeapi", Kind: fault.Invalid, Reason: methodNotAllowed, Err: errors.New("namespaces are projects and cannot be watched: list them")}
	}
	p := r.URL.Query()
	lasts := watchFor
	if text := p.Get("timeoutSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return badRequestf("timeoutSeconds %q is no number of seconds", text)
		}
		if n > 0 {
			lasts = min(lasts, time.Duration(n)*time.Second)
		}
	}
	initial := p.Get("sendInitialEvents") == "true"
	after, err := strconv.ParseInt(p.Get("resourceVersion"), 10, 64)
	if p.Get("resourceVersion") != "" && (err != nil || after < 0) {
		return badRequestf("resourceVersion %q is none of this server", p.Get("resourceVersion"))
	}
	s.Leave(r.Context())
	ctx, cancel := context.WithTimeout(r.Context(), lasts)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	st := &stream{s: s, r: r, q: q, w: w, out: http.NewResponseController(w), bookmarks: p.Get("allowWatchBookmarks") == "true"}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	if after == 0 || initial {
		if after, err = st.first(initial); err != nil {
			return nil //nolint:nilerr // the client went away
		}
	}
	st.flush()
	st.run(ctx, after)
	return nil
}

// stream is one watch under way. What cannot be written ends it: the client
// went away, and comes again if it wants more.
type stream struct {
	s         *Server
	r         *http.Request
	q         *request
	w         io.Writer
	out       *http.ResponseController
	bookmarks bool
	// headed is whether a table's columns were sent.
	headed bool
}

// flush sends what was written.
func (st *stream) flush() { _ = st.out.Flush() } // a client that went away is noticed at the next write

// first sends what there is as added, and if it is asked for, that this was all.
func (st *stream) first(mark bool) (int64, error) {
	items, version := st.s.Store.List(object.Query{Kind: st.q.kind.Key(), Namespace: st.q.namespace, Selector: st.q.selector})
	for _, o := range items {
		if err := st.send(string(object.Added), o); err != nil {
			return 0, err
		}
	}
	if mark {
		return version, st.mark(version, true)
	}
	return version, nil
}

// run sends changes until ctx ends.
func (st *stream) run(ctx context.Context, after int64) {
	query := object.Query{Kind: st.q.kind.Key(), Namespace: st.q.namespace, Selector: st.q.selector}
	for {
		wait, cancel := context.WithTimeout(ctx, bookmarkEvery)
		events, head, err := st.s.Store.Watch(wait, query, after)
		cancel()
		switch {
		case errors.Is(err, object.ErrExpired):
			body, _ := status(err)
			_ = st.frame("ERROR", body) // the watch ends either way
			st.flush()
			return
		case ctx.Err() != nil:
			return
		case err != nil: // nothing happened for a while
			after = head
			if st.bookmarks && st.mark(head, false) != nil {
				return
			}
		}
		for _, e := range events {
			if st.send(string(e.Type), e.Object) != nil {
				return
			}
		}
		after = head
		st.flush()
	}
}

// mark says how far the watch is.
func (st *stream) mark(version int64, initial bool) error {
	o := object.Object{"kind": st.q.kind.Name, "apiVersion": st.q.kind.APIVersion(), "metadata": map[string]any{"resourceVersion": strconv.FormatInt(version, 10), "creationTimestamp": nil}}
	if initial {
		o.Set("true", "metadata", "annotations", "k8s.io/initial-events-end")
	}
	return st.frame("BOOKMARK", o)
}

// send sends one event, as a table if the client wants that.
func (st *stream) send(typ string, o object.Object) error {
	if !asTable(st.r) {
		return st.frame(typ, o)
	}
	t := table(st.r, st.q.kind, []object.Object{o}, 0)
	if st.headed {
		t["columnDefinitions"] = []any{}
	}
	st.headed = true
	return st.frame(typ, t)
}

// frame writes one event.
func (st *stream) frame(typ string, o any) error {
	body, err := json.Marshal(map[string]any{"type": typ, "object": o})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	_, err = st.w.Write(append(body, '\n'))
	return err
}
