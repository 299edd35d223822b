package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/kubeapi"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/registry"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/process"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/delivery"
)

// The permissions of functions and images.
const (
	invokeService = "serving.services.invoke"
	pullImages    = "registry.images.get"
	pushImages    = "registry.images.push"
)

// openFunctions opens the registry and what runs its images.
func (p *Platform) openFunctions(ctx context.Context) (err error) {
	dir := func(name string) string { return filepath.Join(p.config.Data, name) }
	if p.images, err = registry.Open(dir("registry"), registry.Options{Logger: p.log}); err != nil {
		return err
	}
	runner, err := p.newRunner(ctx, dir)
	if err != nil {
		return err
	}
	p.serving, err = serving.Open(ctx, serving.Options{
		Store: p.objects, Images: runner, Runner: runner, URL: p.publicURL, Domain: p.config.FunctionsDomain,
		Authorize: p.mayInvoke, Caller: p.callers().prove, Logs: podlog.New(podlog.Options{Line: p.lines.keep}), Logger: p.log,
	})
	return err
}

// runner is what runs images and finds them.
type runner interface {
	serving.Images
	pool.Runner
}

// newRunner makes what runs images; on a machine that has no sandboxes, what says
// so.
func (p *Platform) newRunner(ctx context.Context, dir func(string) string) (runner, error) {
	if p.config.Runner != "" && p.config.Runner != "process" {
		return p.newContainers(ctx, dir)
	}
	if p.config.RunnerNetwork != "" {
		return nil, errors.New("a runner's network is of containers: processes are in the machine's")
	}
	if err := os.MkdirAll(dir("scratch"), 0o711); err != nil {
		return nil, err
	}
	boxes, err := sandbox.New(ctx, sandbox.Options{Logger: p.log, Dir: dir("scratch")})
	if err != nil { // devices and their events do not suffer for that
		p.log.Warn("functions cannot be run on this machine", slog.Any("error", err))
		return nowhereToRun{err}, nil
	}
	p.onClose(boxes.Close)
	if have := boxes.Describe(); len(have.Missing) > 0 {
		p.log.Warn("functions are isolated as far as the machine allows", slog.String("isolation", have.String()))
	}
	cache, err := image.Open(dir("images"), image.Options{Logger: p.log})
	if err != nil {
		return nil, err
	}
	p.onClose(cache.Close)
	return process.New(process.Options{Sandbox: boxes, Cache: cache, Dir: dir("volumes"), Source: p.imagesOf, Logger: p.log})
}

// nowhereToRun is the runner of a machine that has none.
type nowhereToRun struct{ err error }

// Resolve implements serving.Images.
func (n nowhereToRun) Resolve(context.Context, string, string) (string, error) { return "", n.err }

// Start implements pool.Runner.
func (n nowhereToRun) Start(context.Context, pool.Instance) (pool.Process, error) { return nil, n.err }

// imagesOf is where the images are that a project runs: in its own repositories
// of the platform's registry, whatever name the one who pushed knew it by.
func (p *Platform) imagesOf(_ context.Context, project string, ref image.Reference) (image.Source, error) {
	missing := func(format string, args ...any) error {
		return &fault.Error{Op: "platform.images", Name: ref.String(), Kind: fault.NotFound, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case ref.Host != "" && !p.isHost(ref.Host):
		return nil, missing("the registry %s is not the platform's: images are run from its own alone, as %s/%s/NAME", ref.Host, p.listener.Addr(), project)
	case !strings.HasPrefix(ref.Repository, project+"/"):
		return nil, missing("the images of project %s are those whose name begins with %s/", project, project)
	}
	return p.images.Source(ref.Repository), nil
}

// isHost reports whether the host of a URL is the platform's, on whatever port
// it listened when the image was pushed.
func (p *Platform) isHost(host string) bool {
	if u, err := url.Parse(p.config.PublicURL); err == nil && u.Host == host {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return slices.Contains(ownHosts(p.config.Listen), strings.Trim(host, "[]"))
}

// publicURL is where people reach the platform.
func (p *Platform) publicURL() string {
	if p.config.PublicURL != "" {
		return strings.TrimSuffix(p.config.PublicURL, "/")
	}
	return p.URL()
}

// imageKeep is how long an image is kept that nothing needs: who pushes it
// deploys it a little later.
const imageKeep = time.Hour

// runImages takes away images that nothing needs until ctx ends.
func (p *Platform) runImages(ctx context.Context) error {
	tick := time.NewTicker(imageKeep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var needed []image.Digest
		revisions, _ := p.objects.List(object.Query{Kind: spec.Revision})
		for _, r := range revisions {
			containers, _ := r.Get("status", "containerStatuses").([]any)
			for _, c := range containers {
				m, _ := c.(map[string]any)
				if ref, err := image.ParseReference(object.Object(m).Text("imageDigest")); err == nil && ref.Digest != "" {
					needed = append(needed, ref.Digest)
				}
			}
		}
		got, err := p.images.Collect(ctx, registry.Collection{Needed: needed, MinAge: imageKeep, UploadAge: 24 * time.Hour})
		if err != nil && ctx.Err() == nil {
			p.log.Error("images cannot be collected", slog.Any("error", err))
		}
		if got.Bytes > 0 {
			p.log.Info("images were collected", slog.Int("manifests", got.Manifests), slog.Int64("bytes", got.Bytes))
		}
	}
}

// mayUseImages says whether the caller may use a repository, whose name begins
// with the id of its project.
func (p *Platform) mayUseImages(ctx context.Context, repository string, a registry.Action) error {
	if repository == "" { // may it call at all
		if iam.PrincipalOf(ctx).Kind == iam.Anonymous {
			return &fault.Error{Op: "platform.images", Kind: fault.Unauthenticated, Err: errors.New("the registry needs a key of the platform as the password")}
		}
		return nil
	}
	project, _, _ := strings.Cut(repository, "/")
	permission := pullImages
	if a == registry.Push {
		permission = pushImages
	}
	return p.access.Allow(ctx, permission, resource.Name("projects/"+project))
}

// cluster are the doors of functions, their images and their API.
type cluster struct {
	p          *Platform
	kubernetes *kubeapi.Server
}

// Routes implements gateway.Service.
func (c cluster) Routes(r chi.Router) {
	c.kubernetes.Routes(r)
	images := c.p.images.Handler(registry.Door{Authorize: c.p.mayUseImages, Next: http.HandlerFunc(gateway.NotFound)})
	r.Handle("/v2", unhurried(images))
	r.Handle("/v2/*", unhurried(images))
	r.Handle(serving.PathPrefix+"*", http.HandlerFunc(c.invoke))
}

// uploadTime bounds the upload of one layer.
const uploadTime = 30 * time.Minute

// unhurried gives an upload the time that it takes; those in hand are bounded by
// the registry.
func unhurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime)) // a writer without it has no bound
		}
		next.ServeHTTP(w, r)
	})
}

// invoke passes a request to a function. It may last, and how many there may be
// is the function's own bound.
func (c cluster) invoke(w http.ResponseWriter, r *http.Request) {
	gateway.Leave(r.Context())
	ctx := r.Context()
	if isNear(r) {
		ctx = context.WithValue(ctx, nearKey{}, true)
	}
	if token := r.Header.Get(iam.PlatformHeader); token != "" {
		if domain := c.p.accounts.OwnTokenFor(token); domain != "" {
			ctx = context.WithValue(ctx, itselfKey{}, c.p.neighbours.project(domain))
		}
	}
	r = r.WithContext(ctx)
	c.p.serving.ServeHTTP(w, r)
}

// nearKey finds whether a request comes from this very machine.
type nearKey struct{}

// itselfKey finds the project of a service that the platform itself calls: a
// function of that project. Such a service could use the platform's token for it
// itself.
type itselfKey struct{}

// isNear reports whether a request comes from somebody on this machine who
// speaks to it by its own name: not through a proxy, nor out of a web page of
// somebody else.
func isNear(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via", "Origin", "Sec-Fetch-Site"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// mayInvoke says whether the caller of ctx may call a function: who has the
// permission, and, since func sends no credentials, everybody on this machine
// unless the platform was told otherwise or the service is for the cluster alone.
func (p *Platform) mayInvoke(ctx context.Context, project, service string) error {
	if of, _ := ctx.Value(itselfKey{}).(string); of != "" && of == project {
		return nil
	}
	if near, _ := ctx.Value(nearKey{}).(bool); near && !p.config.ClosedFunctions && iam.PrincipalOf(ctx).Kind == iam.Anonymous && !p.clusterLocal(project, service) {
		return nil
	}
	return p.access.Allow(ctx, invokeService, resource.Name("projects/"+project))
}

// visibility is Knative's label of services that are not for the outside.
const visibility = "networking.knative.dev/visibility"

// clusterLocal reports whether a service is for the cluster alone.
func (p *Platform) clusterLocal(project, service string) bool {
	seen, err := p.objects.Label(spec.Service, project, service, visibility)
	return err != nil || seen == "cluster-local"
}

// deployed is where events for a function of a project go, nil if it has none of
// that name.
func (p *Platform) deployed(project, name string) delivery.Sink {
	if _, err := p.objects.Label(spec.Service, project, name, visibility); err != nil {
		return nil
	}
	return p.serving.Sink(project, name)
}

// podLogs opens what a container has written.
func (p *Platform) podLogs(ctx context.Context, q kubeapi.LogQuery) (io.ReadCloser, error) {
	return p.serving.Logs(ctx, q.Namespace, q.Pod, serving.LogOptions{Container: q.Container, ReadOptions: podlog.ReadOptions{
		Follow: q.Follow, Previous: q.Previous, Since: q.Since, Tail: int64(q.Tail), Limit: q.Limit, Timestamps: q.Timestamps,
	}})
}
