package devicesv1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
)

const (
	// clientTTL is for how long a Client gives the same answer: a change in
	// the registry reaches functions that run as their own process within it.
	clientTTL = 5 * time.Second
	// clientAnswers bounds the answers that a Client keeps of each type.
	clientAnswers = 1 << 14
	// clientTimeout bounds one request, from dialling to the last byte.
	clientTimeout = 5 * time.Second
	// clientConns bounds the idle connections that are kept for the events
	// that a function handles at a time.
	clientConns = 64
	// clientIdle is when an idle connection is closed: before servers and
	// balancers do, which commonly wait for 60 s and more.
	clientIdle = 45 * time.Second
)

// Client is a [Reader] of the registry of a platform, over HTTP. It keeps
// answers, absences included, for five seconds.
//
// An answer that is not the registry's never becomes NotFound: a platform that
// does not answer, a proxy or another server in its place, and a refusal of
// this function's own key are all Unavailable, since they say nothing about the
// device, and its events must be tried again.
type Client struct {
	platform   client.Client
	devices    *readcache.Cache[question, *Device]
	blueprints *readcache.Cache[question, *Blueprint]
}

var _ Reader = (*Client)(nil)

// question is what a Client is asked: the resource of that name, or the device
// of the project of that name that has the alias.
type question struct {
	name  string
	alias External
}

// NewClient makes a client of the platform at baseURL ("http://HOST:PORT") that
// proves itself with an API key.
func NewClient(baseURL, key string) *Client {
	return &Client{
		platform: client.Client{URL: baseURL, Key: key, HTTP: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: clientConns, IdleConnTimeout: clientIdle,
			},
			Timeout: clientTimeout,
			// A registry does not redirect; who does is somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}},
		devices:    readcache.New[question, *Device](clientAnswers, clientTTL),
		blueprints: readcache.New[question, *Blueprint](clientAnswers, clientTTL),
	}
}

// Device implements Reader.
func (c *Client) Device(ctx context.Context, name string) (*Device, error) {
	return ask(c.devices, question{name: name}, func() (*Device, error) {
		const op = "devicesv1.Client.Device"
		if _, err := resource.ParseDevice(name); err != nil {
			return nil, &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
		}
		d := &Device{}
		return d, c.read(ctx, request{op: op, path: "/v1/" + name, want: name, got: d.GetName}, d)
	})
}

// Resolve implements Reader.
func (c *Client) Resolve(ctx context.Context, project string, alias External) (*Device, error) {
	return ask(c.devices, question{project, alias}, func() (*Device, error) {
		const op = "devicesv1.Client.Resolve"
		name, err := resource.Project.Format(project)
		if err = errors.Join(err, alias.Check()); err != nil {
			return nil, &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
		}
		q := url.Values{"network": {alias.Network}, "key": {alias.Key}, "value": {alias.Value}}
		d := &Device{}
		return d, c.read(ctx, request{op: op, path: "/v1/" + string(name) + "/devices:resolve", query: q, got: d.GetName}, d)
	})
}

// Blueprint implements Reader.
func (c *Client) Blueprint(ctx context.Context, name string) (*Blueprint, error) {
	return ask(c.blueprints, question{name: name}, func() (*Blueprint, error) {
		const op = "devicesv1.Client.Blueprint"
		if _, err := resource.Blueprint.Parse(name); err != nil {
			return nil, &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
		}
		b := &Blueprint{}
		return b, c.read(ctx, request{op: op, path: "/v1/" + name, want: name, got: b.GetName}, b)
	})
}

// ask answers from the cache, or reads.
func ask[T any](cache *readcache.Cache[question, *T], q question, read func() (*T, error)) (*T, error) {
	v, ok, err := cache.Get(q)
	if !ok {
		q = question{strings.Clone(q.name), External{strings.Clone(q.alias.Network), strings.Clone(q.alias.Key), strings.Clone(q.alias.Value)}}
		v, err = cache.Load(q, read)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// request is a GET of one resource.
type request struct {
	// op is the operation for faults, path the URL after the base.
	op, path string
	query    url.Values
	// got is the name in the answer; it must be want, or anything but "" if
	// that is "".
	want string
	got  func() string
}

// read asks the platform and decodes the resource into v.
func (c *Client) read(ctx context.Context, q request, v proto.Message) error {
	var body json.RawMessage
	err := c.platform.Call(ctx, http.MethodGet, q.path, q.query, nil, &body)
	if err == nil {
		// A platform that is newer may say more.
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, v)
	}
	var f *fault.Error
	// Only a problem body has a reason; the 404 of a proxy has none.
	if errors.As(err, &f) && (f.Kind == fault.NotFound && f.Reason != "" || f.Kind == fault.Exhausted) {
		return err
	}
	if err == nil && (q.got() == "" || q.want != "" && q.got() != q.want) {
		err = fmt.Errorf("the answer is of %q", q.got())
	}
	if err != nil {
		return &fault.Error{Op: q.op, Name: q.want, Kind: fault.Unavailable, Err: err}
	}
	return nil
}
