package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort returns a free port of 127.0.0.1. It stays free until its server listens, and
// while that restarts, because it lies below the ephemeral range. From that range, 32768 and
// up, the system gives ports to programs that ask for any port, and to outgoing
// connections.
func FreePort() (port int, err error) {
	const first, end, tries = 20_000, 32_000, 100
	for range tries {
		port = first + rand.N(end-first)
		var listener net.Listener
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("find a free port between %d and %d: %w", first, end, err)
}
