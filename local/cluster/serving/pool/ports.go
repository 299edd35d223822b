package pool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports of instances are below those that the kernel takes for outgoing
// connections, so that none of these comes between the choice of a port and the
// listening of the process.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// port is a port that nothing listens on and no other instance has. It is chosen
// at random, since other programs choose ports too.
func (r *Room) port(ctx context.Context) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for range highestPort - lowestPort {
		p := lowestPort + rand.IntN(highestPort-lowestPort)
		if r.ports[p] {
			continue
		}
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", Loopback, p)); err == nil {
			r.ports[p] = true
			return p, l.Close()
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free: %w", lowestPort, highestPort, err)
}

// free gives a port back.
func (r *Room) free(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ports, port)
}
