package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort is a port of 127.0.0.1 that is free, and stays so until the server that
// is given it listens, and while that is restarted: the system gives out those of
// its ephemeral range, from 32768 on, to whoever asks for any, and to every
// connection that somebody opens.
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
