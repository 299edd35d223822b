// Package peering carries [reference.Peers] from one platform to another: a
// [Client] that asks, and a [Server] that answers for the store of this one.
// Between them is the hidden service of sdk/reference/v1, over sdk/rpc.
//
// An answer counts only if it says that it is by the store that was asked: the
// server refuses what is meant for another service or region, and the client
// whatever does not say whose it is. So a wrong address, a platform that was
// given another region, and a proxy that answers in its place are all the same
// as silence, and nothing is concluded from silence. Only platforms may ask.
//
// Client and Server are safe for concurrent use.
package peering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	referencev1 "selvedge.dev/sdk/reference/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// Platform is where the platform of another region is.
type Platform struct {
	// URL is its address, "https://us.example.com".
	URL string
	// Key is an API key there that may call it as a peer.
	Key string
}

// Options configure a Client.
type Options struct {
	// Platforms are those that are known, by region.
	Platforms map[string]Platform
	// Met is the identity that the store of a region had when it was met first,
	// which is that of the answer if this is the first one: [store.Store.Met].
	// A region whose store is another since is not believed: one that was
	// emptied would say of every owner that it is gone.
	Met func(ctx context.Context, region, identity string) (string, error)
	// HTTP makes the requests; nil is one that follows no redirects.
	HTTP *http.Client
	// Timeout bounds each call; 0 is 10 seconds. Nobody is kept waiting by a
	// region that is away, and a page of answers takes far less.
	Timeout time.Duration
	// Logger is told when a region is away, and when it is back; nil discards.
	Logger *slog.Logger
}

// The bounds of a call. A request of maxItems stays below the 4 MiB that
// servers take, with names as long as they may be; what an answer has beyond
// maxAnswer is no answer of ours. A failure within patience keeps nobody
// waiting.
const (
	defaultTimeout = 10 * time.Second
	patience       = time.Second
	maxItems       = 1000
	maxAnswer      = 64 << 20
)

// brokenReference is the reason of [reference.Peers.Establish] to refuse.
const brokenReference = "BROKEN_REFERENCE"

// Client is [reference.Peers] over RPC.
type Client struct {
	o       Options
	methods map[protoreflect.FullName]*schema.Method // by their requests

	mu sync.Mutex
	// away are the regions whose last call had no answer, and until when they are
	// not asked again: for as long as that call took, if it took long. So a
	// region that is silent costs its callers half of their time at most.
	away map[string]time.Time
	// met are the identities of the stores that answered.
	met map[string]string
}

var _ reference.Peers = (*Client)(nil)

// NewClient makes a Client.
func NewClient(o Options) *Client {
	if o.HTTP == nil {
		o.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	bounded := *o.HTTP
	bounded.Transport = transport{bounded.Transport}
	o.HTTP = &bounded
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, methods: map[protoreflect.FullName]*schema.Method{}, away: map[string]time.Time{}, met: map[string]string{}}
	for _, m := range referencev1.AddTo(new(schema.Registry)).Methods {
		c.methods[m.Desc.Input().FullName()] = m
	}
	return c
}

// Establish implements [reference.Peers].
func (c *Client) Establish(ctx context.Context, q *reference.EstablishRequest) error {
	for targets := range slices.Chunk(q.Targets, maxItems) {
		_, err := call[*referencev1.EstablishResponse](ctx, c, q.To, &referencev1.EstablishRequest{
			To: address(q.To), Source: ref(q.Source), Targets: each(targets, target),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Lookup implements [reference.Peers].
func (c *Client) Lookup(ctx context.Context, q *reference.LookupRequest) (*reference.LookupReply, error) {
	reply := &reference.LookupReply{}
	for items := range slices.Chunk(q.Items, maxItems) {
		out, err := call[*referencev1.LookupResponse](ctx, c, q.To, &referencev1.LookupRequest{To: address(q.To), Items: each(items, item)})
		if err == nil && len(out.GetAnswers()) != len(items) {
			err = c.silence(q.To, "PEER_UNREACHABLE", fmt.Errorf("%d answers to %d questions", len(out.GetAnswers()), len(items)))
		}
		if err != nil {
			return nil, err
		}
		reply.Answers = append(reply.Answers, each(out.GetAnswers(), answerOf)...)
	}
	return reply, nil
}

// Dependants implements [reference.Peers].
func (c *Client) Dependants(ctx context.Context, q *reference.DependantsRequest) (*reference.DependantsReply, error) {
	out, err := call[*referencev1.DependantsResponse](ctx, c, q.To, &referencev1.DependantsRequest{To: address(q.To), Of: ref(q.Of), Owners: q.Owners})
	if err != nil {
		return nil, err
	}
	return &reference.DependantsReply{Dependants: each(out.GetDependants(), dependantOf)}, nil
}

// Release implements [reference.Peers].
func (c *Client) Release(ctx context.Context, q *reference.ReleaseRequest) (*reference.ReleaseReply, error) {
	out, err := call[*referencev1.ReleaseResponse](ctx, c, q.To, &referencev1.ReleaseRequest{To: address(q.To), Target: ref(q.Target), Owner: q.Owner, Gone: q.Gone})
	if err != nil {
		return nil, err
	}
	return &reference.ReleaseReply{Left: int(out.GetLeft()), Held: out.GetHeld()}, nil
}

// Upgrade implements [reference.Peers].
func (c *Client) Upgrade(ctx context.Context, q *reference.UpgradeRequest) error {
	_, err := call[*referencev1.UpgradeResponse](ctx, c, q.To, &referencev1.UpgradeRequest{
		To: address(q.To), Service: q.Service, Version: q.Version, Instead: q.Instead,
	})
	return err
}

// response is an answer that says whose it is.
type response interface {
	proto.Message
	GetAuthority() *referencev1.Address
}

// call asks a store. Whatever happens but an answer by that store itself is
// Unavailable.
func call[R response](ctx context.Context, c *Client, to reference.Address, req proto.Message) (R, error) {
	none := *new(R)
	p, ok := c.o.Platforms[to.Region]
	if !ok {
		return none, c.silence(to, "PEER_UNKNOWN", errors.New("no platform of that region is known"))
	}
	begin := time.Now()
	if c.rests(to.Region, begin) {
		return none, c.silence(to, "PEER_UNREACHABLE", errors.New("it was asked a moment ago, in vain"))
	}
	bounded, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	m := c.methods[req.ProtoReflect().Descriptor().FullName()]
	out, err := (&rpc.Client{URL: p.URL, Key: p.Key, HTTP: c.o.HTTP}).Call(bounded, m, req)
	if err != nil {
		err = c.failed(to, err)
		if took := time.Since(begin); took > patience && ctx.Err() == nil { // it was not the caller who gave up
			c.rest(to.Region, took)
		}
		return none, err
	}
	r, ok := out.(R)
	if by := addressOf(r.GetAuthority()); !ok || by != to {
		return none, c.silence(to, "WRONG_STORE", fmt.Errorf("the answer is by %s", by))
	}
	if err := c.recognize(ctx, to.Region, r.GetAuthority().GetStore()); err != nil {
		return none, c.silence(to, "ANOTHER_STORE", err)
	}
	c.answered(to.Region)
	return r, nil
}

// recognize checks that the store of a region is the one that it always was.
func (c *Client) recognize(ctx context.Context, region, identity string) error {
	c.mu.Lock()
	known := c.met[region]
	c.mu.Unlock()
	if known == "" && identity != "" {
		var err error
		if known, err = c.o.Met(ctx, region, identity); err != nil {
			return err
		}
		c.mu.Lock()
		c.met[region] = known
		c.mu.Unlock()
	}
	if identity == "" || identity != known {
		return errors.New("its database is not the one that it had before; if it is meant to have another, start this platform once with --renew-peer " + region)
	}
	return nil
}

// failed is the error of a call that failed. That a reference cannot be is what
// the store was asked, and it decides that only for itself.
func (c *Client) failed(to reference.Address, err error) error {
	reason := "PEER_UNREACHABLE"
	switch kind := fault.KindOf(err); {
	case kind == fault.Invalid && fault.ReasonOf(err) == brokenReference:
		c.answered(to.Region)
		return err
	case kind == fault.Unauthenticated, kind == fault.Denied:
		reason = "PEER_REFUSED"
	}
	return c.silence(to, reason, err)
}

// silence is the error of a store that gave no answer. Why is for the operator:
// it tells of networks, and whoever called us has nothing to do with those.
func (c *Client) silence(to reference.Address, reason string, why error) error {
	c.mu.Lock()
	_, known := c.away[to.Region]
	if !known {
		c.away[to.Region] = time.Time{}
	}
	c.mu.Unlock()
	level := slog.LevelWarn
	if known {
		level = slog.LevelDebug
	}
	c.o.Logger.Log(context.Background(), level, "a region does not answer", slog.String("region", to.Region),
		slog.String("service", to.Service), slog.String("reason", reason), slog.Any("error", why))
	return &fault.Error{Op: "peering.Call", Name: to.Service, Kind: fault.Unavailable, Reason: reason, Err: fmt.Errorf("%s cannot be reached", to)}
}

// answered notes that a region is there.
func (c *Client) answered(region string) {
	c.mu.Lock()
	_, away := c.away[region]
	delete(c.away, region)
	c.mu.Unlock()
	if away {
		c.o.Logger.Info("a region answers again", slog.String("region", region))
	}
}

// rest has a region not be asked for a while, unless it is there after all.
func (c *Client) rest(region string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, away := c.away[region]; away {
		c.away[region] = time.Now().Add(d)
	}
}

// rests reports whether a region is not to be asked now.
func (c *Client) rests(region string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.away[region])
}

// transport bounds the bodies of answers.
type transport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{http.MaxBytesReader(nil, resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}
