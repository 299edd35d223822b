package containerd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"selvedge.dev/sdk/fault"
)

// containerdNamespace is the namespace that everything of ours is in.
const containerdNamespace = "selvedge"

// ownerLabel has the owner of containers and images.
const ownerLabel = "selvedge.dev/owner"

// The headers by which containerd's calls name a namespace and a lease.
const (
	namespaceHeader = "containerd-namespace"
	leaseHeader     = "containerd-lease"
)

// client is the services of one containerd.
type client struct {
	conn        *grpc.ClientConn
	containers  containersapi.ContainersClient
	content     contentapi.ContentClient
	diff        diffapi.DiffClient
	images      imagesapi.ImagesClient
	leases      leasesapi.LeasesClient
	snapshots   snapshotsapi.SnapshotsClient
	tasks       tasksapi.TasksClient
	snapshotter string
}

// connectTimeout bounds how long one connection may take.
const connectTimeout = 10 * time.Second

// dial makes a client of the containerd at a socket, which need not be there yet.
func dial(address string) (*client, error) {
	named := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, namespaceHeader, containerdNamespace)
	}
	conn, err := grpc.NewClient("unix://"+address,
		// While containerd is being restarted calls wait, for as long as their context lasts.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket is root's
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout, Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}}),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(named(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(named(ctx), desc, cc, method, opts...)
		}))
	if err != nil {
		return nil, err
	}
	return &client{
		conn: conn, containers: containersapi.NewContainersClient(conn), content: contentapi.NewContentClient(conn),
		diff: diffapi.NewDiffClient(conn), images: imagesapi.NewImagesClient(conn),
		leases: leasesapi.NewLeasesClient(conn), snapshots: snapshotsapi.NewSnapshotsClient(conn), tasks: tasksapi.NewTasksClient(conn),
	}, nil
}

// snapshotters are those that are used, the best first.
var snapshotters = []string{"overlayfs", "native"}

// openTimeout bounds how long containerd may take to say that it is there.
const openTimeout = 3 * time.Second

// open makes the namespace, and finds a snapshotter that works on this machine.
func (c *client) open(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	_, err := namespacesapi.NewNamespacesClient(c.conn).Create(ctx, &namespacesapi.CreateNamespaceRequest{Namespace: &namespacesapi.Namespace{Name: containerdNamespace}})
	switch status.Code(err) {
	case codes.OK, codes.AlreadyExists:
	case codes.Unavailable, codes.DeadlineExceeded:
		return &fault.Error{Op: "containerd.Open", Kind: fault.Unavailable, Reason: "NO_CONTAINERD", Err: fmt.Errorf("containerd does not answer at %s: %w", address, err)}
	default:
		return failed("make the namespace", err)
	}
	have, err := introspectionapi.NewIntrospectionClient(c.conn).Plugins(ctx, &introspectionapi.PluginsRequest{Filters: []string{"type==io.containerd.snapshotter.v1"}})
	if err != nil {
		return failed("list snapshotters", err)
	}
	for _, name := range snapshotters {
		for _, p := range have.GetPlugins() {
			if p.GetID() == name && p.GetInitErr() == nil {
				c.snapshotter = name
				return nil
			}
		}
	}
	return &fault.Error{Op: "containerd.Open", Kind: fault.Unsupported, Err: fmt.Errorf("containerd has none of the snapshotters %s on this machine", strings.Join(snapshotters, ", "))}
}

// ownedBy is the filter of what has an owner.
func ownedBy(owner string) []string {
	return []string{`labels."` + ownerLabel + `"==` + strconv.Quote(owner)}
}

// failed is the fault of a call that failed.
func failed(doing string, err error) error {
	kind := fault.Internal
	message := status.Convert(err).Message()
	switch status.Code(err) {
	case codes.NotFound:
		kind = fault.Conflict // what was there a moment ago: another try makes it again
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		kind = fault.Unavailable
	case codes.InvalidArgument:
		kind = fault.Invalid
	}
	// The runtime has no codes for a program that the image does not have.
	if strings.Contains(message, "unable to start container process: exec:") {
		kind = fault.Invalid
	}
	return &fault.Error{Op: "containerd", Kind: kind, Err: fmt.Errorf("containerd: %s: %w", doing, errors.New(message))}
}

// missing reports whether what a call was about is not there.
func missing(err error) bool { return status.Code(err) == codes.NotFound }
