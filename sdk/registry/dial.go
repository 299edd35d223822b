package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/rpc"
)

// Dial is a client of the service of that domain in that region, which calls
// with this service's own key. Without a region it is that of this deployment,
// else the primary one, else any where the service is; one that is gone is only
// taken if all are. The service is reached over the local network if both are in
// the same.
//
// A service, or a deployment, that is not known, is not there: NotFound. One
// that is disabled, or has no address, is Unavailable. A client is good for as
// long as its deployment stays where it is.
func (r *Registry) Dial(service, region string) (*rpc.Client, error) {
	url, err := r.route(service, region)
	if err != nil {
		return nil, err
	}
	return &rpc.Client{URL: url, Key: r.o.Key, HTTP: r.o.HTTP}, nil
}

// DialForwarding is Dial for a call on behalf of the one that ctx is of: the
// client calls with its credentials and its id ([Incoming]), and with none if it
// has none. Credentials are for this service alone, in whatever region, and for
// those that are trusted with them: to any other it is Denied.
func (r *Registry) DialForwarding(ctx context.Context, service, region string) (*rpc.Client, error) {
	if service != r.domain && !slices.Contains(r.o.Trusted, service) {
		return nil, &fault.Error{
			Op: "registry.DialForwarding", Name: "services/" + service, Kind: fault.Denied, Reason: "NOT_TRUSTED",
			Err: fmt.Errorf("%s does not hand the credentials of its callers to %s: call as yourself, by Dial", r.domain, service),
		}
	}
	url, err := r.route(service, region)
	if err != nil {
		return nil, err
	}
	h := *r.o.HTTP
	h.Transport = forward{call: callOf(ctx), next: h.Transport}
	return &rpc.Client{URL: url, HTTP: &h}, nil
}

// route is the address of a service in a region.
func (r *Registry) route(service, region string) (string, error) {
	s, err := r.Lookup(service)
	if err != nil {
		return "", err
	}
	all := r.Deployments(service)
	regions := []string{region}
	if region == "" {
		regions = []string{r.o.Region, s.Primary()}
		for _, d := range all {
			regions = append(regions, d.Region())
		}
	}
	var disabled, gone *metav1.Deployment
	for _, id := range regions {
		i := slices.IndexFunc(all, func(d *metav1.Deployment) bool { return d.Region() == id })
		switch {
		case i < 0:
		case all[i].GetIsDisabled():
			disabled = all[i]
		case all[i].GetPresence().GetState() == metav1.Presence_GONE:
			gone = cmp.Or(gone, all[i])
		default:
			return r.address(all[i])
		}
	}
	if gone != nil {
		return r.address(gone) // the registry may be the one that cannot reach it
	}
	if disabled != nil {
		return "", unavailable("DEPLOYMENT_DISABLED", disabled, errors.New("the deployment is disabled: it is about to be removed"))
	}
	return "", &fault.Error{
		Op: "registry.Dial", Name: s.GetName(), Kind: fault.NotFound, Reason: "NOT_DEPLOYED", Field: "region",
		Err: fmt.Errorf("%s is not deployed in the region %q", service, region),
	}
}

// address is where a deployment is reached from here.
func (r *Registry) address(d *metav1.Deployment) (string, error) {
	own := r.Deployment()
	switch {
	case d.GetPrivateEndpoint() != "" && d.GetLocalNetwork() == own.GetLocalNetwork():
		return d.GetPrivateEndpoint(), nil
	case d.GetEndpoint() == "":
		return "", unavailable("NO_ENDPOINT", d, errors.New("the deployment has no address that is reached from here"))
	}
	return d.GetEndpoint(), nil
}

// unavailable is the fault of a deployment that cannot be called.
func unavailable(reason string, d *metav1.Deployment, err error) error {
	return &fault.Error{Op: "registry.Dial", Name: d.GetName(), Kind: fault.Unavailable, Reason: reason, Err: err}
}

// forward is the transport of calls on behalf of others.
type forward struct {
	call incoming
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f forward) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del(authorization)
	if f.call.authorization != "" {
		req.Header.Set(authorization, f.call.authorization)
	}
	if f.call.id != "" {
		req.Header.Set(CallIDHeader, f.call.id)
	}
	next := f.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(req)
}
