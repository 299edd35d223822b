package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// metaDomain is the registry's own service.
const metaDomain = "meta.selvedge.dev"

// openMeta opens the registry: what is registered is owned here, or by the
// platform of the primary region, and then this is a copy of it.
func (p *Platform) openMeta(ctx context.Context, rules meta.Rules, own string) (*meta.Service, error) {
	s, err := meta.NewService(p.resources.store, rules, p.resources.options)
	if err != nil {
		return nil, err
	}
	primary, err := p.primary(ctx, own)
	if err != nil {
		return nil, err
	}
	if primary != own {
		p.log.Info("the registry is that of another region", slog.String("region", primary))
		s.Follow(primary, &owner{p: p, region: primary, at: p.peers[primary]}, 0)
	}
	return s, nil
}

// primary is the region whose platform has the registry: the one that was
// configured; or else the one that had it, which this platform knows by its copy
// or by the regions that registered here; or else the one that has it for the
// peers; or else the first by name.
func (p *Platform) primary(ctx context.Context, own string) (string, error) {
	if p.config.Primary != "" || len(p.peers) == 0 {
		return cmp.Or(p.config.Primary, own), nil
	}
	st := p.resources.store
	typ, _ := st.Types().Type(metav1.ServiceType)
	var itself *metav1.Service
	err := st.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err := st.Get(ctx, typ, resource.Name("services/"+metaDomain))
		itself, _ = m.(*metav1.Service)
		return err
	})
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return "", fmt.Errorf("reading where the registry is: %w", err)
	}
	regions := p.regions(own)
	if is := ownerOf(itself, own); is != "" && slices.Contains(regions, is) {
		return is, nil
	}
	for _, region := range regions {
		if region == own {
			continue
		}
		switch is := p.primaryOf(ctx, region); {
		case is == "":
		case slices.Contains(regions, is):
			return is, nil
		default:
			return "", fmt.Errorf("the peer %q says that the registry is that of the region %q, which is to be a peer too", region, is)
		}
	}
	return regions[0], nil
}

// ownerOf is the region that owns the registry of several regions, by what the
// registry of one of them says of itself; "" if it is of one region.
func ownerOf(itself *metav1.Service, region string) string {
	owner := itself.GetMetadata().GetSyncing().GetOwningRegion()
	if owner == region && !slices.ContainsFunc(itself.Regions(), func(r string) bool { return r != region }) {
		return ""
	}
	return owner
}

// askTimeout bounds a question to a peer that need not be there yet.
const askTimeout = 3 * time.Second

// primaryOf is the region that owns the registry for a peer, "" if it does not
// say.
func (p *Platform) primaryOf(ctx context.Context, region string) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	get := metav1.AddTo(new(schema.Registry)).Methods
	i := slices.IndexFunc(get, func(m *schema.Method) bool { return m.Desc.Name() == "GetService" })
	o := owner{p: p, region: region, at: p.peers[region]}
	m, err := o.client(nil).Call(ctx, get[i], &metav1.GetServiceRequest{Name: "services/" + metaDomain})
	if err != nil {
		p.log.Info("a peer does not say whose the registry is", slog.String("region", region), slog.Any("error", err))
		return ""
	}
	itself, _ := m.(*metav1.Service)
	return ownerOf(itself, region)
}

// owner is the registry of the platform of the primary region.
type owner struct {
	p      *Platform
	region string
	at     peering.Platform

	mu sync.Mutex
	// why is the reason why it was not reached last, "" if it was.
	why string
}

var _ meta.Owner = (*owner)(nil)

// The bounds of calls: of one that changes something, and of the silence on a
// watch, which is told a new token every half a minute if nothing else.
const (
	ownerTimeout = 10 * time.Second
	ownerSilence = 90 * time.Second
)

// Call implements [meta.Owner].
func (o *owner) Call(ctx context.Context, as meta.Caller, m *schema.Method, req proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	if err := o.recognize(ctx); err != nil {
		return nil, err
	}
	who, err := json.Marshal(as)
	if err != nil {
		return nil, err
	}
	c := o.client(http.Header{callerHeader: {string(who)}})
	return c.Call(ctx, m, req)
}

// Watch implements [watch.Stream]. A link that was cut without a word ends it.
func (o *owner) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	if err := o.recognize(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(ownerSilence, cancel)
	defer silence.Stop()
	return o.client(nil).Watch(ctx, m, req, func(msg proto.Message) error {
		silence.Reset(ownerSilence)
		return recv(msg)
	})
}

// recognize refuses a platform that is not the one of the primary region, or has
// another database than it always had: that would have everything be gone here.
func (o *owner) recognize(ctx context.Context) error {
	_, err := o.p.neighbours.regions.Lookup(ctx, &reference.LookupRequest{
		To:    reference.Address{Service: metaDomain, Region: o.region},
		Items: []reference.LookupItem{{Ref: reference.Ref{Type: metav1.RegionType, Name: resource.Name("regions/" + o.region)}}},
	})
	if ctx.Err() == nil {
		o.note(err)
	}
	return err
}

// note logs why the registry is not reached, when that changes, and that it is
// again.
func (o *owner) note(err error) {
	why := ""
	if err != nil {
		why = fault.ReasonOf(err)
	}
	o.mu.Lock()
	was := o.why
	o.why = why
	o.mu.Unlock()
	region := slog.String("region", o.region)
	switch {
	case why == was:
	case why == "":
		o.p.log.Info("the registry is reached again", region)
	case why == anotherStore:
		o.p.log.Warn("the registry has another database than before, and is not believed: "+
			"restore the one that it had, or start this platform once with --renew-peer and its region", region)
	default:
		o.p.log.Warn("the registry is not reached: what is known of it stays", region, slog.String("reason", why), slog.Any("error", err))
	}
}

// client calls the platform with these headers more.
func (o *owner) client(h http.Header) *rpc.Client {
	return &rpc.Client{URL: o.at.URL, Key: o.at.Key, Region: o.region, HTTP: &http.Client{
		Transport: withHeader{h}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// withHeader makes requests with headers more.
type withHeader struct{ more http.Header }

// RoundTrip implements [http.RoundTripper].
func (t withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range t.more {
		r.Header[name] = values
	}
	return http.DefaultTransport.RoundTrip(r)
}

// callerHeader says for whom a platform calls the registry of another: a
// [meta.Caller] in JSON. It counts if platforms may make the call.
const callerHeader = "Selvedge-Registry-Caller"

// claimedKey finds in a context for whom a call says that it is.
type claimedKey struct{}

// onBehalf is the middleware that keeps for whom a call says that it is.
func onBehalf(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claimed meta.Caller
		if text := r.Header.Get(callerHeader); text != "" && json.Unmarshal([]byte(text), &claimed) == nil {
			r = r.WithContext(context.WithValue(r.Context(), claimedKey{}, claimed))
		}
		next.ServeHTTP(w, r)
	})
}
