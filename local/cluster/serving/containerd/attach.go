package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/local/cluster/serving/pool"
)

// networkLabel has what the plugins said of a container's network, so that the
// next platform can tell them when it takes the container out of it.
const networkLabel = "selvedge.dev/network"

// maxLabel bounds a label, with its name, in containerd.
const maxLabel = 4096

// attached is a container's network.
type attached struct {
	attachment
	// held keeps the network namespace until the plugins have left it, also when
	// all processes in it have ended.
	held *os.File
}

// networkFiles makes the files that say what names mean, empty before the network
// is joined.
func (c *container) networkFiles() error {
	c.address = pool.Loopback
	if c.r.o.Network == nil {
		return nil
	}
	for _, name := range networkFiles {
		if err := os.WriteFile(filepath.Join(c.folder(), name), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// join has the container join the network, if there is one. Its process is there,
// and waits for its start.
func (c *container) join(ctx context.Context, pid uint32) error {
	n := c.r.o.Network
	if n == nil {
		return nil
	}
	held, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("open the network of %s: %w", c.id, err)
	}
	c.network = &attached{attachment{id: c.id, namespace: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), held.Fd())}, held}
	address, servers, err := n.join(ctx, &c.network.attachment)
	if err != nil {
		return err
	}
	c.address = address
	if len(servers) == 0 {
		servers = resolvers()
	}
	var resolv strings.Builder
	for _, s := range servers {
		fmt.Fprintln(&resolv, "nameserver", s)
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", address, c.instance.Name)
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": resolv.String()} {
		if err := os.WriteFile(filepath.Join(c.folder(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if len(networkLabel)+len(c.network.result) > maxLabel { // the next platform tells less
		return nil
	}
	_, err = c.r.client.containers.Update(ctx, &containersapi.UpdateContainerRequest{
		Container:  &containersapi.Container{ID: c.id, Labels: map[string]string{networkLabel: string(c.network.result)}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels." + networkLabel}},
	})
	if err != nil {
		return failed("record the network", err)
	}
	return nil
}

// leave takes the container out of its network.
func (c *container) leave(ctx context.Context) {
	if c.network == nil {
		return
	}
	c.r.o.Network.leave(ctx, c.network.attachment, c.r.o.Logger)
	_ = c.network.held.Close() // it is only read
}

// abandon takes a container of the platform before out of its network.
func (r *Runner) abandon(ctx context.Context, c *containersapi.Container) {
	result := c.GetLabels()[networkLabel]
	if r.o.Network == nil || result == "" {
		return
	}
	a := attachment{id: c.GetID(), result: []byte(result)}
	if task, err := r.client.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: c.GetID()}); err == nil && task.GetProcess().GetPid() > 0 {
		a.namespace = fmt.Sprintf("/proc/%d/ns/net", task.GetProcess().GetPid())
	}
	r.o.Network.leave(ctx, a, r.o.Logger)
}
