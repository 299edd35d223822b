package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/net"

	"selvedge.dev/edgeruntime"
)

// virtual begins the names of interfaces that carry no traffic of their own:
// the loop, and those that container and machine managers make and forget by
// the hundred, under a new name each time.
var virtual = []string{"lo", "veth", "cali", "lxc", "cni", "flannel", "docker", "br-", "virbr", "vnet", "ifb", "dummy"}

// readNetwork sets the counters of every network interface.
func readNetwork(ctx context.Context, r edgeruntime.Reading) error {
	all, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return fmt.Errorf("read network counters: %w", err)
	}
	setNetwork(r, all)
	return nil
}

// setNetwork sets the counters of the interfaces that carry traffic.
func setNetwork(r edgeruntime.Reading, all []net.IOCountersStat) {
	all = slices.DeleteFunc(slices.Clone(all), func(c net.IOCountersStat) bool { return isVirtual(c.Name) })
	slices.SortFunc(all, func(a, b net.IOCountersStat) int { return cmp.Compare(a.Name, b.Name) })
	seen := newNames()
	for _, c := range all[:min(len(all), maxFamily)] {
		path := "network/" + seen.element(c.Name)
		r.Set(path+"/received_bytes", float64(c.BytesRecv))
		r.Set(path+"/sent_bytes", float64(c.BytesSent))
		r.Set(path+"/received_packets", float64(c.PacketsRecv))
		r.Set(path+"/sent_packets", float64(c.PacketsSent))
		r.Set(path+"/receive_errors", float64(c.Errin))
		r.Set(path+"/send_errors", float64(c.Errout))
		r.Set(path+"/receive_drops", float64(c.Dropin))
		r.Set(path+"/send_drops", float64(c.Dropout))
	}
	setOmitted(r, "network/omitted", len(all))
}

// isVirtual reports whether the interface is one of the virtual ones. "lo" is a
// whole name, or one with a number behind it: "low_power0" is not the loop.
func isVirtual(name string) bool {
	return slices.ContainsFunc(virtual, func(prefix string) bool {
		rest, ok := strings.CutPrefix(name, prefix)
		return ok && (prefix != "lo" || strings.Trim(rest, "0123456789") == "")
	})
}
