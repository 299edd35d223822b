package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// target is a server with resources, as a client over HTTP and JSON sees it.
type target struct {
	name, url, token string
	http             *http.Client
	// create, get and list are the requests for one object, and for 100 of
	// those that have the rare color.
	create func(id string) (method, path string, body any)
	get    func(id string) string
	list   string
	// watched makes the body of a create one that the watchers of a run see.
	watched func(body any, run string)
	// changes counts the changes in one event.
	changes func(data string) int
	// watch opens a stream of server-sent events of a run's objects, and returns
	// once the server follows them for it.
	watch func(ctx context.Context, t *target, run string) (*events, error)
}

// call makes one request and reads the whole answer.
func (t *target) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if t.token != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s %s: %d %.300s", t.name, method, path, resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// rareColor is the label that one object in a hundred has.
const rareColor = "red"

// colorOf is the color of the i-th object.
func colorOf(i int) string {
	if i%100 == 0 {
		return rareColor
	}
	return []string{"blue", "green", "grey"}[i%3]
}

// ours is Selvedge, with a device as the object.
func ours(name, address, key string) *target {
	const collection = "/v1/projects/default/devices"
	return &target{
		name: name, url: address, token: key, http: newClient(),
		create: func(id string) (string, string, any) {
			return http.MethodPost, collection + "?deviceId=" + id, map[string]any{
				"displayName": "Robot " + id, "route": "writer",
				"metadata": map[string]any{"labels": map[string]string{"color": "blue", "site": "north"}},
			}
		},
		get:  func(id string) string { return collection + "/" + id },
		list: collection + "?" + url.Values{"pageSize": {"100"}, "filter": {`metadata.labels.color = "` + rareColor + `"`}}.Encode(),
		watched: func(body any, run string) {
			body.(map[string]any)["metadata"].(map[string]any)["labels"].(map[string]string)["color"] = run
		},
		// A server that is behind puts several changes into one event.
		changes: func(data string) int { return strings.Count(data, `"isNew":true`) },
		watch: func(ctx context.Context, t *target, run string) (*events, error) {
			e, err := t.stream(ctx, collection+":watch?type=STATELESS&filter="+url.QueryEscape(`metadata.labels.color = "`+run+`"`))
			if err != nil {
				return nil, err
			}
			// The snapshot, which is empty.
			_, err = e.next()
			return e, err
		},
	}
}

// peer is PocketBase, with a record of a collection as the object. Its rules
// let everybody in, which is its fastest way.
func peer(name, address string) *target {
	const collection = "/api/collections/robots/records"
	return &target{
		name: name, url: address, http: newClient(),
		create: func(id string) (string, string, any) {
			return http.MethodPost, collection, map[string]any{
				"id": id, "display_name": "Robot " + id, "route": "writer", "color": "blue", "site": "north",
			}
		},
		get:     func(id string) string { return collection + "/" + id },
		list:    collection + "?" + url.Values{"perPage": {"100"}, "skipTotal": {"1"}, "filter": {"color='" + rareColor + "'"}, "sort": {"id"}}.Encode(),
		watched: func(any, string) {}, // it watches everything
		changes: func(data string) int { return strings.Count(data, `"action":"create"`) },
		watch: func(ctx context.Context, t *target, _ string) (*events, error) {
			e, err := t.stream(ctx, "/api/realtime")
			if err != nil {
				return nil, err
			}
			hello, err := e.next()
			if err != nil {
				return nil, err
			}
			var client struct {
				ID string `json:"clientId"`
			}
			if err := json.Unmarshal([]byte(hello), &client); err != nil {
				return nil, err
			}
			return e, t.call(ctx, http.MethodPost, "/api/realtime", map[string]any{"clientId": client.ID, "subscriptions": []string{"robots/*"}}, nil)
		},
	}
}

// newClient is a client with room for every connection of the load.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2048, IdleConnTimeout: time.Minute}}
}

// events is a stream of server-sent events.
type events struct {
	body  io.Closer
	lines *bufio.Scanner
}

// stream opens one.
func (t *target) stream(ctx context.Context, path string) (*events, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 300))
		return nil, errors.Join(fmt.Errorf("%s: watch: %d %s", t.name, resp.StatusCode, text), err, resp.Body.Close())
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 4096), 8<<20)
	return &events{body: resp.Body, lines: lines}, nil
}

// next is the data of the next event.
func (e *events) next() (string, error) {
	for e.lines.Scan() {
		if data, ok := strings.CutPrefix(e.lines.Text(), "data:"); ok {
			return strings.TrimSpace(data), nil
		}
	}
	return "", errors.Join(io.ErrUnexpectedEOF, e.lines.Err())
}
