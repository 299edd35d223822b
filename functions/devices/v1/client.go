package devicesv1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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
	// clientTTL is for how long a Client gives the same answer while it does
	// not watch: a change in the registry reaches functions that run as their
	// own process within it.
	clientTTL = 5 * time.Second
	// clientAge is the same while it watches. No answer should become wrong by
	// then; it is for what went wrong all the same.
	clientAge = 10 * time.Minute
	// clientAnswers bounds the answers that a Client keeps of each kind.
	clientAnswers = 1 << 16
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
// answers, absences included, for five seconds; while its Run watches the
// registry it keeps them until they change, which it knows at once.
//
// An answer that is not the registry's never becomes NotFound: a platform that
// does not answer, a proxy or another server in its place, and a refusal of
// this function's own key are all Unavailable, since they say nothing about the
// device, and its events must be tried again.
type Client struct {
	platform client.Client
	watched  watched
	// aliases are the names of the devices that have them. One that is kept
	// counts only if the device says so too.
	aliases    *readcache.Cache[question, answer[string]]
	devices    *readcache.Cache[question, answer[*Device]]
	blueprints *readcache.Cache[question, answer[*Blueprint]]
}

var _ Reader = (*Client)(nil)

// question is what a Client is asked: the resource of that name, or the device
// of the project of that id that has the alias.
type question struct {
	name  string
	alias External
}

// clone is the question without what its texts are parts of.
func (q question) clone() question {
	return question{strings.Clone(q.name), External{strings.Clone(q.alias.Network), strings.Clone(q.alias.Key), strings.Clone(q.alias.Value)}}
}

// answer is what the registry said.
type answer[T any] struct {
	value T
	// asked is when, and phase that of the watch by then.
	asked time.Time
	phase uint64
}

// NewClient makes a client of the platform at baseURL ("http://HOST:PORT") that
// proves itself with an API key.
func NewClient(baseURL, key string) *Client {
	return NewClientOver(&http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: clientConns, IdleConnTimeout: clientIdle,
	}, baseURL, key)
}

// NewClientOver is NewClient with a transport that makes the requests.
func NewClientOver(transport http.RoundTripper, baseURL, key string) *Client {
	return &Client{
		platform: client.Client{URL: baseURL, Key: key, HTTP: &http.Client{
			Transport: transport, Timeout: clientTimeout,
			// A registry does not redirect; who does is somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}},
		aliases:    readcache.New[question, answer[string]](clientAnswers, clientAge),
		devices:    readcache.New[question, answer[*Device]](clientAnswers, clientAge),
		blueprints: readcache.New[question, answer[*Blueprint]](clientAnswers, clientAge),
	}
}

// Device implements Reader.
func (c *Client) Device(ctx context.Context, name string) (*Device, error) {
	return ask(c, c.devices, question{name: name}, func() (*Device, error) {
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
	q := question{project, alias}
	if a, ok, err := c.aliases.Get(q); ok {
		switch d, lost := c.Device(ctx, a.value); {
		case err != nil: // nobody has it
			if holds(c, a) {
				return nil, err
			}
		case lost == nil && slices.ContainsFunc(d.GetAliases(), alias.is):
			return d, nil
		case lost != nil && fault.KindOf(lost) != fault.NotFound:
			return nil, lost
		}
	}
	return c.resolve(ctx, q.clone())
}

// resolve is Resolve of what is not known. It keeps the device too.
func (c *Client) resolve(ctx context.Context, q question) (*Device, error) {
	const op = "devicesv1.Client.Resolve"
	d := &Device{}
	_, err := load(c, c.aliases, q, func() (string, error) {
		name, err := resource.Project.Format(q.name)
		if err = errors.Join(err, q.alias.Check()); err != nil {
			return "", &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
		}
		told, begun := c.watched.told.Load(), begin[*Device](c)
		query := url.Values{"network": {q.alias.Network}, "key": {q.alias.Key}, "value": {q.alias.Value}}
		if err := c.read(ctx, request{op: op, path: "/v1/" + string(name) + "/devices:resolve", query: query, got: d.GetName}, d); err != nil {
			return "", err
		}
		_, _ = c.devices.Load(question{name: d.GetName()}, func() (answer[*Device], error) {
			if c.watched.told.Load() != told {
				return begun, errChanged
			}
			begun.value = d
			return begun, nil
		})
		return d.GetName(), nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// errChanged is that something changed after it was read.
var errChanged = errors.New("it may have changed")

// Blueprint implements Reader.
func (c *Client) Blueprint(ctx context.Context, name string) (*Blueprint, error) {
	return ask(c, c.blueprints, question{name: name}, func() (*Blueprint, error) {
		const op = "devicesv1.Client.Blueprint"
		if _, err := resource.Blueprint.Parse(name); err != nil {
			return nil, &fault.Error{Op: op, Kind: fault.NotFound, Err: err}
		}
		b := &Blueprint{}
		return b, c.read(ctx, request{op: op, path: "/v1/" + name, want: name, got: b.GetName}, b)
	})
}

// ask answers from the cache, or reads.
func ask[T any](c *Client, cache *readcache.Cache[question, answer[*T]], q question, read func() (*T, error)) (*T, error) {
	a, ok, err := cache.Get(q)
	if !ok || !holds(c, a) {
		a, err = load(c, cache, q.clone(), read)
	}
	if err != nil {
		return nil, err
	}
	return a.value, nil
}

// load reads, and keeps the answer.
func load[T any](c *Client, cache *readcache.Cache[question, answer[T]], q question, read func() (T, error)) (answer[T], error) {
	return cache.Load(q, func() (answer[T], error) {
		a := begin[T](c)
		var err error
		a.value, err = read()
		return a, err
	})
}

// begin is an answer that is about to be asked for.
func begin[T any](c *Client) answer[T] {
	return answer[T]{asked: time.Now(), phase: c.watched.phase.Load()}
}

// holds reports whether an answer still counts: nothing changed since, or it is
// young.
func holds[T any](c *Client, a answer[T]) bool {
	return a.phase != 0 && a.phase == c.watched.phase.Load() || time.Since(a.asked) < clientTTL
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
