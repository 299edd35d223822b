package reader

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

const (
	// fresh is how long descriptors are believed. A series that somebody else made
	// is seen after ten seconds at the earliest (vm.Remote), so that its metric is
	// known by then.
	fresh = 5 * time.Second
	// unused is how long those of a project are kept that nobody reads.
	unused = 10 * time.Minute
	// maxPages bounds how many pages of descriptors a project may have, of 10,000
	// each.
	maxPages = 1000
)

// Descriptors are what a platform says of its metrics and monitored resources, as
// of at most five seconds ago. They implement tsdb.Descriptors and tsdb.Resources,
// but nothing can be declared by them. They may be used concurrently.
type Descriptors struct {
	platform *client.Client
	now      func() time.Time
	asking   singleflight.Group

	mu       sync.Mutex
	projects map[string]*known
}

// known is what is known of a project. Only used changes.
type known struct {
	at, used  time.Time
	metrics   []tsdb.Descriptor // by type
	resources []tsdb.ResourceDescriptor
}

var (
	_ tsdb.Descriptors = (*Descriptors)(nil)
	_ tsdb.Resources   = (*Descriptors)(nil)
)

// NewDescriptors are those of the platform that the client calls.
func NewDescriptors(platform *client.Client) *Descriptors {
	return &Descriptors{platform: platform, now: time.Now, projects: map[string]*known{}}
}

// Load has the descriptors of a project be known, or is the error of asking for
// them.
func (d *Descriptors) Load(ctx context.Context, project string) error {
	_, err := d.of(ctx, project)
	return err
}

// Describe is the descriptor of a metric of a project that was loaded, and whether
// there is one.
func (d *Descriptors) Describe(project, metric string) (tsdb.Descriptor, bool) {
	d.mu.Lock()
	k := d.projects[project]
	d.mu.Unlock()
	if k == nil {
		return tsdb.Descriptor{}, false
	}
	return k.metric(metric)
}

// metric finds a metric.
func (k *known) metric(metric string) (tsdb.Descriptor, bool) {
	i, found := slices.BinarySearchFunc(k.metrics, metric, func(d tsdb.Descriptor, t string) int { return strings.Compare(d.Type, t) })
	if !found {
		return tsdb.Descriptor{}, false
	}
	return k.metrics[i], true
}

// Descriptor implements tsdb.Descriptors.
func (d *Descriptors) Descriptor(ctx context.Context, project, metric string) (tsdb.Descriptor, error) {
	k, err := d.of(ctx, project)
	if err != nil {
		return tsdb.Descriptor{}, err
	}
	if m, ok := k.metric(metric); ok {
		return m, nil
	}
	return tsdb.Descriptor{}, &fault.Error{Op: "reader.Descriptor", Kind: fault.NotFound, Name: "projects/" + project + "/metricDescriptors/" + metric}
}

// List implements tsdb.Descriptors.
func (d *Descriptors) List(ctx context.Context, project string) ([]tsdb.Descriptor, error) {
	k, err := d.of(ctx, project)
	if err != nil {
		return nil, err
	}
	return slices.Clone(k.metrics), nil
}

// Resource implements tsdb.Resources.
func (d *Descriptors) Resource(ctx context.Context, project, typ string) (tsdb.ResourceDescriptor, error) {
	k, err := d.of(ctx, project)
	if err != nil {
		return tsdb.ResourceDescriptor{}, err
	}
	if i := slices.IndexFunc(k.resources, func(r tsdb.ResourceDescriptor) bool { return r.Type == typ }); i >= 0 {
		return k.resources[i], nil
	}
	return tsdb.ResourceDescriptor{}, &fault.Error{
		Op: "reader.Resource", Kind: fault.NotFound, Name: "projects/" + project + "/monitoredResourceDescriptors/" + typ,
	}
}

// ListResources implements tsdb.Resources.
func (d *Descriptors) ListResources(ctx context.Context, project string) ([]tsdb.ResourceDescriptor, error) {
	k, err := d.of(ctx, project)
	if err != nil {
		return nil, err
	}
	return slices.Clone(k.resources), nil
}

// Ensure implements tsdb.Descriptors: it is Unsupported.
func (d *Descriptors) Ensure(context.Context, tsdb.Descriptor) (tsdb.Descriptor, error) {
	return tsdb.Descriptor{}, readOnly("reader.Ensure")
}

// EnsureResource implements tsdb.Resources: it is Unsupported.
func (d *Descriptors) EnsureResource(context.Context, tsdb.ResourceDescriptor) (tsdb.ResourceDescriptor, error) {
	return tsdb.ResourceDescriptor{}, readOnly("reader.EnsureResource")
}

// readOnly is the error of what is done at the platform.
func readOnly(op string) error {
	return &fault.Error{Op: op, Kind: fault.Unsupported, Reason: "READ_ONLY", Err: errors.New("series are read here, and written at the platform")}
}

// of is what is known of a project, asked for if that is too old.
func (d *Descriptors) of(ctx context.Context, project string) (*known, error) {
	if k := d.remembered(project); k != nil {
		return k, nil
	}
	// Who comes meanwhile waits for the same answer, and not longer than he wants to.
	// The answer is for all of them: it does not end with the first one's request.
	answer := d.asking.DoChan(project, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return d.ask(ctx, project)
	})
	select {
	case <-ctx.Done():
		return nil, &fault.Error{Op: "reader.Load", Kind: fault.Unavailable, Name: "projects/" + project, Err: context.Cause(ctx)}
	case a := <-answer:
		k, _ := a.Val.(*known)
		return k, a.Err
	}
}

// remembered is what is known of a project and fresh, or nil.
func (d *Descriptors) remembered(project string) *known {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, now := d.projects[project], d.now()
	if k == nil || now.Sub(k.at) >= fresh {
		return nil
	}
	k.used = now
	return k
}

// ask asks the platform about a project, and remembers the answer.
func (d *Descriptors) ask(ctx context.Context, project string) (*known, error) {
	now := d.now()
	k := &known{at: now, used: now}
	root := "/v3/projects/" + url.PathEscape(project)
	err := d.pages(ctx, root+"/metricDescriptors", func(p *page) {
		for i := range p.MetricDescriptors {
			k.metrics = append(k.metrics, p.MetricDescriptors[i].descriptor(project))
		}
	})
	if err == nil {
		err = d.pages(ctx, root+"/monitoredResourceDescriptors", func(p *page) {
			for i := range p.ResourceDescriptors {
				k.resources = append(k.resources, p.ResourceDescriptors[i].descriptor(project))
			}
		})
	}
	if err != nil {
		return nil, asked(project, err)
	}
	slices.SortFunc(k.metrics, func(a, b tsdb.Descriptor) int { return cmp.Compare(a.Type, b.Type) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, other := range d.projects {
		if now.Sub(other.used) > unused {
			delete(d.projects, name)
		}
	}
	d.projects[project] = k
	return k, nil
}

// asked is the error of a question to the platform. That the process's own account
// may not ask is nothing that the caller can change.
func asked(project string, err error) error {
	e := &fault.Error{Op: "reader.Load", Kind: fault.Unavailable, Name: "projects/" + project, Err: err}
	if kind := fault.KindOf(err); kind == fault.Denied || kind == fault.Unauthenticated {
		e.Reason = "MAY_NOT_ASK"
	}
	return e
}

// pages calls f with every page of a list.
func (d *Descriptors) pages(ctx context.Context, path string, f func(*page)) error {
	token := ""
	for range maxPages {
		var p page
		if err := d.platform.Call(ctx, http.MethodGet, path, url.Values{"pageSize": {"10000"}, "pageToken": {token}}, nil, &p); err != nil {
			return err
		}
		f(&p)
		if token = p.NextPageToken; token == "" {
			return nil
		}
	}
	return errors.New("there are more pages of " + path + " than can be")
}
