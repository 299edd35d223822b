package kubeapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"selvedge.dev/sdk/fault"
)

// log streams what a container has written.
func (s *Server) log(w http.ResponseWriter, r *http.Request, q *request) error {
	lq, err := logQuery(r, q)
	if err != nil {
		return err
	}
	if s.Logs == nil {
		return &fault.Error{Op: "kubeapi", Name: q.name, Kind: fault.NotFound, Err: fmt.Errorf("pods %q not found", q.name)}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	lines, err := s.Logs(ctx, lq)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }() // it was read
	if lq.Follow {
		s.Leave(r.Context())
	}
	w.Header().Set("Content-Type", "text/plain")
	out := http.NewResponseController(w)
	buf := make([]byte, 16<<10)
	for {
		n, err := lines.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return nil // the client went away
		}
		_ = out.Flush() // as above
		if err != nil {
			return nil // the end, or it cannot be said any more
		}
	}
}

// logQuery reads the parameters of a log.
func logQuery(r *http.Request, q *request) (LogQuery, error) {
	p := r.URL.Query()
	out := LogQuery{Namespace: q.namespace, Pod: q.name, Container: p.Get("container"), Tail: -1}
	for name, to := range map[string]*bool{"follow": &out.Follow, "previous": &out.Previous, "timestamps": &out.Timestamps} {
		v := p.Get(name)
		if v == "" {
			continue
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return out, badRequestf("%s %q is neither true nor false", name, v)
		}
		*to = b
	}
	number := func(name string, set func(n int64)) error {
		v := p.Get(name)
		if v == "" {
			return nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return badRequestf("%s %q is no whole number from 0 on", name, v)
		}
		set(n)
		return nil
	}
	if err := number("tailLines", func(n int64) { out.Tail = int(n) }); err != nil {
		return out, err
	}
	if err := number("limitBytes", func(n int64) { out.Limit = n }); err != nil {
		return out, err
	}
	if err := number("sinceSeconds", func(n int64) { out.Since = time.Now().Add(-time.Duration(n) * time.Second) }); err != nil {
		return out, err
	}
	if v := p.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return out, badRequestf("sinceTime %q is no time of RFC 3339", v)
		}
		out.Since = t
	}
	return out, nil
}
