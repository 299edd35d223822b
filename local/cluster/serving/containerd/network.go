package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// everywhere is what an instance listens on in a network of its own, whose address
// is not known yet when it is told.
const everywhere = "0.0.0.0"

// networkFiles are what says what names of the network mean, in a network of its
// own.
var networkFiles = []string{"hosts", "resolv.conf"}

// pluginFolders is where plugins of networks are looked for.
const pluginFolders = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"

// Network gives containers networks of their own, by the plugins that a
// configuration of the Container Network Interface (CNI) lists: what they reach,
// and by which addresses, is the configuration's matter. The address that the first
// gives a container must be one that the platform reaches.
type Network struct {
	name, version string
	plugins       []map[string]any
	folders       string
}

// OpenNetwork reads a configuration, a list of plugins in JSON as in
// /etc/cni/net.d/NAME.conflist. Plugins are looked for in folders, separated by
// colons; where distributions have them if it is "".
func OpenNetwork(file, folders string) (*Network, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	var list struct {
		Name    string           `json:"name"`
		Version string           `json:"cniVersion"`
		Plugins []map[string]any `json:"plugins"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("open network %s: %w", file, err)
	}
	n := &Network{name: list.Name, version: list.Version, plugins: list.Plugins, folders: folders}
	if n.folders == "" {
		n.folders = pluginFolders
	}
	if n.name == "" || n.version == "" || len(n.plugins) == 0 {
		return nil, fmt.Errorf("open network %s: want name, cniVersion and plugins", file)
	}
	for _, p := range n.plugins {
		if _, err := n.program(p); err != nil {
			return nil, fmt.Errorf("open network %s: %w", file, err)
		}
	}
	return n, nil
}

// program is the file of a plugin.
func (n *Network) program(plugin map[string]any) (string, error) {
	name, _ := plugin["type"].(string)
	if name == "" || name != filepath.Base(name) {
		return "", fmt.Errorf("%q is no name of a plugin", name)
	}
	for _, dir := range filepath.SplitList(n.folders) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", fmt.Errorf("the plugin %s is in none of %s", name, n.folders)
}

// attachment is a container's part in the network.
type attachment struct {
	id string
	// namespace is the path of its network namespace; "" is that it is gone.
	namespace string
	// result is what the last plugin said, which the next is told.
	result json.RawMessage
}

// join adds a container, and returns its address and the name servers.
func (n *Network) join(ctx context.Context, a *attachment) (address string, servers []string, err error) {
	for _, p := range n.plugins {
		if a.result, err = n.run(ctx, "ADD", p, *a); err != nil {
			return "", nil, err
		}
	}
	var got struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
		DNS struct {
			Nameservers []string `json:"nameservers"`
		} `json:"dns"`
	}
	if err := json.Unmarshal(a.result, &got); err != nil {
		return "", nil, fmt.Errorf("network %s: %w", n.name, err)
	}
	if len(got.IPs) == 0 {
		return "", nil, fmt.Errorf("network %s: the plugins gave no address", n.name)
	}
	return got.IPs[0].Address.Addr().String(), got.DNS.Nameservers, nil
}

// leave takes a container out of the network again, however far it was in it.
func (n *Network) leave(ctx context.Context, a attachment, log *slog.Logger) {
	for _, p := range slices.Backward(n.plugins) {
		if _, err := n.run(ctx, "DEL", p, a); err != nil {
			log.Warn("a container cannot be taken out of its network", slog.String("container", a.id), slog.Any("error", err))
		}
	}
}

// run runs one plugin.
func (n *Network) run(ctx context.Context, command string, plugin map[string]any, a attachment) (json.RawMessage, error) {
	program, err := n.program(plugin)
	if err != nil {
		return nil, err
	}
	config := map[string]any{"name": n.name, "cniVersion": n.version}
	for k, v := range plugin {
		config[k] = v
	}
	if a.result != nil {
		config["prevResult"] = a.result
	}
	input, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CNI_COMMAND=" + command, "CNI_CONTAINERID=" + a.id,
		"CNI_NETNS=" + a.namespace, "CNI_IFNAME=eth0", "CNI_PATH=" + n.folders,
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		var said struct {
			Message string `json:"msg"`
			Details string `json:"details"`
		}
		if json.Unmarshal(out.Bytes(), &said) == nil && said.Message != "" {
			err = errors.New(strings.TrimSpace(said.Message + " " + said.Details))
		}
		return nil, fmt.Errorf("network %s: %s %s: %w %s", n.name, command, filepath.Base(program), err, strings.TrimSpace(errs.String()))
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// resolvers are the name servers of this machine that can be asked from another
// network.
func resolvers() []string {
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var out []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) != 2 || fields[0] != "nameserver" {
				continue
			}
			if ip, err := netip.ParseAddr(fields[1]); err == nil && !ip.IsLoopback() {
				out = append(out, fields[1])
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
