package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference/peering"
	"selvedge.dev/sdk/resource"
)

// Peer is the platform of another region.
type Peer struct {
	// URL is where it listens, "https://us.example.com".
	URL string
	// KeyFile is the file with an administrator's key there.
	KeyFile string
}

// openPeers is the client of the platforms of other regions. A mistake in how
// they are configured is found here, not when the first reference is made.
func (p *Platform) openPeers(own string) (*peering.Client, error) {
	platforms := map[string]peering.Platform{}
	for region, peer := range p.config.Peers {
		bad := func(err error) error { return fmt.Errorf("the peer %q: %w", region, err) }
		if region == own {
			return nil, bad(errors.New("this is the region of this platform itself"))
		}
		if _, err := resource.Pattern("regions/{region}").Parse("regions/" + region); err != nil {
			return nil, bad(err)
		}
		u, err := url.Parse(peer.URL)
		if err != nil {
			return nil, bad(err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, bad(fmt.Errorf("%q is no address like https://us.example.com", u.Redacted()))
		}
		if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			p.log.Warn("the key for a peer goes over plain HTTP: use https", slog.String("region", region))
		}
		key, err := os.ReadFile(peer.KeyFile)
		if err != nil {
			return nil, bad(err)
		}
		key = bytes.TrimSpace(key)
		if len(key) == 0 || bytes.ContainsAny(key, " \t\r\n") {
			return nil, bad(fmt.Errorf("%s has no key, or more than one", peer.KeyFile))
		}
		platforms[region] = peering.Platform{URL: peer.URL, Key: string(key)}
	}
	for _, region := range p.config.RenewPeers {
		if _, ok := platforms[region]; !ok {
			return nil, fmt.Errorf("the peer %q is to be renewed, but there is none", region)
		}
	}
	if _, ok := platforms[p.config.Primary]; !ok && p.config.Primary != "" && p.config.Primary != own {
		return nil, fmt.Errorf("the primary region is to be %q, which is neither this one nor a peer", p.config.Primary)
	}
	p.peers = platforms
	met := func(ctx context.Context, region, identity string) (string, error) {
		return p.resources.store.Met(ctx, region, identity)
	}
	return peering.NewClient(peering.Options{Platforms: platforms, Met: met, Logger: p.log}), nil
}

// regions are the region of this platform and those of its peers, in order.
func (p *Platform) regions(own string) []string {
	all := append(slices.Collect(maps.Keys(p.config.Peers)), own)
	slices.Sort(all)
	return all
}

// authorize asks for the permission, and refuses what is another region's: this
// platform does not know what there is, so that even "not found" would be wrong.
func (p *Platform) authorize(ctx context.Context, permission string, name resource.Name) error {
	if err := p.access.Allow(ctx, permission, name); err != nil {
		return err
	}
	region := regionOf(name)
	if _, ok := p.config.Peers[region]; !ok {
		return nil
	}
	return &fault.Error{
		Op: "platform.Authorize", Name: string(name), Kind: fault.Invalid, Reason: "WRONG_REGION", Field: "name",
		Err: fmt.Errorf("it is in the region %s, and this is the platform of another: call that of %s", region, region),
	}
}

// regionOf is the region that a name, or that of a parent, is in; "" if it does
// not say.
func regionOf(name resource.Name) string {
	for n := name; n != ""; n = n.Parent() {
		if n.Collection() == "regions" && n.Parent() != "" { // not a region itself
			return n.ID()
		}
	}
	return ""
}
