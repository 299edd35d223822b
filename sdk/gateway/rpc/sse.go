package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// stream is a method that can be watched as server-sent events.
type stream struct {
	server Server
	method *schema.Method
}

// The times of server-sent events. A comment now and then keeps proxies from
// taking the connection for dead, and finds out that the client is.
const (
	heartbeat    = 15 * time.Second
	writeTimeout = 30 * time.Second
)

// events answers GET …:watch with server-sent events (the EventSource of
// browsers): each message of the stream is an event whose data is its JSON. An
// error that ends the stream is an event "error" with the body of
// google.aip.dev/193. What is no watch goes to next.
func (h *Handler) events(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, watch := strings.CutSuffix(r.URL.Path, ":watch")
		path, ok := strings.CutPrefix(path, "/v1/")
		if !watch || !ok || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		for _, s := range h.streams {
			field, value, ok := s.matches(path)
			if !ok {
				continue
			}
			req, err := s.request(field, value, r)
			if err != nil {
				fault.Write(w, err)
				return
			}
			h.lasting(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serveEvents(w, r, s, req) })).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// matches reports whether the path is one that the stream is about, and which
// field of the request says so.
func (s stream) matches(path string) (field, value string, ok bool) {
	x := s.method.Resource
	if !s.method.Collection {
		_, err := x.Parse(path)
		return "name", path, err == nil
	}
	if path == x.Plural {
		return "parent", "", true
	}
	parent, ok := strings.CutSuffix(path, "/"+x.Plural)
	if !ok || parent == "" { // which is said by no slash
		return "", "", false
	}
	_, err := schema.ParseParent(x, parent)
	return "parent", parent, err == nil
}

// request is the request of a watch. As over REST, the other fields are query
// parameters; the event id of a stream that broke is its resume token.
func (s stream) request(field, value string, r *http.Request) (proto.Message, error) {
	req := s.method.Input.New()
	if f := req.Descriptor().Fields().ByName(protoreflect.Name(field)); f != nil {
		req.Set(f, protoreflect.ValueOfString(value))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &fault.Error{Op: "rpc.Watch", Kind: fault.Invalid, Reason: "INVALID_QUERY", Err: err}
	}
	for name, values := range query {
		for _, v := range values {
			if err := setParam(req, name, v); err != nil {
				return nil, err
			}
		}
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" && s.method.Collection {
		req.Set(req.Descriptor().Fields().ByName("resume_token"), protoreflect.ValueOfString(id))
	}
	return req.Interface(), nil
}

// setParam sets the field of a request that a query parameter names.
func setParam(req protoreflect.Message, name, text string) error {
	bad := func(err error) error {
		return &fault.Error{Op: "rpc.Watch", Kind: fault.Invalid, Reason: "INVALID_PARAMETER", Field: name, Err: err}
	}
	p, err := fieldpath.Parse(req.Descriptor(), name)
	if err != nil {
		return bad(fmt.Errorf("the request has no parameter %q", name))
	}
	f := p.Field()
	// A field of JSON is what any scalar, mask or timestamp can be read from.
	for _, value := range []any{text, json.RawMessage(text)} {
		field, err := json.Marshal(map[string]any{f.JSONName(): value})
		if err != nil {
			continue // text that is no JSON by itself
		}
		one := req.New().Interface()
		if err := protojson.Unmarshal(field, one); err == nil {
			proto.Merge(req.Interface(), one)
			return nil
		}
	}
	return bad(fmt.Errorf("%q is no value of %s", text, name))
}

// serveEvents answers with the stream.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, s stream, req proto.Message) {
	leave, err := h.watching(r.Context())
	if err != nil {
		fault.Write(w, err)
		return
	}
	defer leave()
	out := &eventWriter{w: w, c: http.NewResponseController(w), messages: make(chan proto.Message)}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- s.server.Stream(ctx, s.method, req, func(m proto.Message) error {
			select {
			case out.messages <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = out.run(done)
	cancel()
	if err == nil {
		return
	}
	err = ended(r.Context(), err)
	if !out.begun {
		_ = h.fail(r.Context(), s.method, err) // for its log line
		fault.Write(w, err)
		return
	}
	_ = out.problem(h, r, s, err) // a caller who went away needs no answer
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w        http.ResponseWriter
	c        *http.ResponseController
	messages chan proto.Message
	// begun is whether the answer has begun.
	begun bool
}

// run writes messages until the stream is done, and returns its error, or nil
// once the client is gone.
func (e *eventWriter) run(done <-chan error) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case err := <-done:
			return err
		case m := <-e.messages:
			err = e.message(m)
		case <-beat.C:
			err = e.write(": \n\n")
		}
		if err != nil {
			return nil // the client is gone: the stream ends by its context
		}
	}
}

// message writes one event.
func (e *eventWriter) message(m proto.Message) error {
	data, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	var b strings.Builder
	if f := m.ProtoReflect().Descriptor().Fields().ByName("resume_token"); f != nil {
		if token := m.ProtoReflect().Get(f).String(); token != "" {
			b.WriteString("id: " + token + "\n")
		}
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
	return e.write(b.String())
}

// problem writes the event of an error.
func (e *eventWriter) problem(h *Handler, r *http.Request, s stream, err error) error {
	_ = h.fail(r.Context(), s.method, err) // for its log line
	data, failed := json.Marshal(fault.ProblemOf(err))
	if failed != nil {
		return failed
	}
	return e.write("event: error\ndata: " + string(data) + "\n\n")
}

// write writes text and sends it at once.
func (e *eventWriter) write(text string) error {
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", "text/event-stream")
		e.w.Header().Set("Cache-Control", "no-store")
		e.w.Header().Set("X-Accel-Buffering", "no")
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.c.SetWriteDeadline(time.Now().Add(writeTimeout)) // without deadlines a dead client is noticed by TCP
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.c.Flush()
}
