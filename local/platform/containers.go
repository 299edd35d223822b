package platform

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"selvedge.dev/local/cluster/serving/containerd"
)

// newContainers makes the runner that has containerd run images.
func (p *Platform) newContainers(ctx context.Context, dir func(string) string) (runner, error) {
	name, socket, _ := strings.Cut(p.config.Runner, "=")
	if name != "containerd" || socket != "" && !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("runner %q: want process, containerd, or containerd=/PATH/OF/ITS/SOCKET", p.config.Runner)
	}
	owner, err := filepath.Abs(p.config.Data)
	if err != nil {
		return nil, err
	}
	volumes, err := filepath.Abs(dir("containers"))
	if err != nil {
		return nil, err
	}
	o := containerd.Options{Source: p.imagesOf, Address: socket, Owner: owner, Dir: volumes, Logger: p.log}
	if p.config.RunnerNetwork != "" {
		if o.Network, err = containerd.OpenNetwork(p.config.RunnerNetwork, ""); err != nil {
			return nil, err
		}
	}
	r, err := containerd.New(ctx, o)
	if err != nil {
		return nil, err
	}
	p.onClose(r.Close)
	return r, nil
}
