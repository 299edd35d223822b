package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"selvedge.dev/sdk/event"
)

// back posts events to a platform.
type back struct {
	platform *url.URL
	project  string
	keyFile  string
}

// handler is the door for triggers, and for probes.
func (b *back) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /readings", b.to("/v1/events"))
	mux.Handle("POST /events", b.to("/brokers/"+b.project+"/default"))
	mux.Handle("POST /dead-letters", b.to("/brokers/"+b.project+"/dead-letters"))
	mux.HandleFunc("POST /given-up", givenUp)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

// givenUp refuses for good what the cluster's broker gave up, with what the function
// answered to it, so that the platform keeps it as a dead letter that says that.
func givenUp(w http.ResponseWriter, r *http.Request) {
	body, err := base64.StdEncoding.DecodeString(r.Header.Get("Ce-Knativeerrordata"))
	if err != nil {
		body = []byte(r.Header.Get("Ce-Knativeerrordata"))
	}
	http.Error(w, fmt.Sprintf("%s answered %s: %s", r.Header.Get("Ce-Knativeerrordest"), r.Header.Get("Ce-Knativeerrorcode"), body), http.StatusUnprocessableEntity)
}

// key is the key as it is now.
func (b *back) key() (string, error) {
	text, err := os.ReadFile(b.keyFile)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// to posts to a path of the platform.
func (b *back) to(path string) http.Handler {
	to := *b.platform
	to.Path = strings.TrimSuffix(to.Path, "/") + path
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			target := to
			r.Out.URL, r.Out.Host = &target, ""
			for name := range r.Out.Header {
				if !passed(name) {
					delete(r.Out.Header, name)
				}
			}
			r.Out.Header.Set("Authorization", r.In.Header.Get("Authorization"))
			if source := r.In.Header.Get(sourceHeader); source != "" {
				r.Out.Header.Set(sourceHeader, b.source(source))
			}
		},
		ModifyResponse: answer,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the platform does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := b.key()
		if err != nil { // it comes back with the next write of the secret
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Body = http.MaxBytesReader(w, r.Body, event.DefaultEventLimit)
		proxy.ServeHTTP(w, r)
	})
}

// sourceHeader has the source of an event.
const sourceHeader = "Ce-Source"

// source is the source that an event of the project's has there. That of the
// platform's own functions is the platform's, outside of projects, where a key of a
// project may not post: deployed by a project it is the project's.
func (b *back) source(s string) string {
	name, ours := strings.CutPrefix(s, event.Authority)
	if !ours || strings.HasPrefix(name, "projects/") {
		return s
	}
	return event.Source("projects/" + b.project + "/" + name)
}

// passed are the headers of an event, and those by which requests are traced.
func passed(name string) bool {
	return strings.HasPrefix(name, "Ce-") || name == "Content-Type" || name == "Traceparent" || name == "Tracestate"
}

// answer makes the platform's answer one for a broker, which takes the body of a
// success for a reply, and retries what it is to retry by the status: a key that is
// not valid may be replaced, and is nothing that the event is at fault for.
func answer(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		resp.StatusCode = http.StatusServiceUnavailable
	case resp.StatusCode < http.StatusMultipleChoices:
		if err := resp.Body.Close(); err != nil {
			return err
		}
		resp.StatusCode, resp.Body = http.StatusAccepted, http.NoBody
		resp.Header = http.Header{}
	}
	return nil
}
