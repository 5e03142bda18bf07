package manager

import (
	"sync"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// flights let readers that miss the same key in the same state share one read
// of the store. The record is opened once for all of them. Each copies the
// reply, and the last one wipes it.
type flights struct {
	mu       sync.Mutex
	underWay map[flightKey]*flight
}

// flightKey names a flight. Reads whose tokens differ see different states of the key and
// must not share one.
type flightKey struct {
	subjects.Target
	coherence.Token
}

type flight struct {
	done  chan struct{} // closed when found and err are set
	found answer        // for the users that have not left
	err   error
	users int // guarded by flights.mu: readers, plus load until it returns
}

// join returns the flight of a key, and begins one if there is none. load then
// runs on its own goroutine, since it outlives a reader that gives up. It must
// not panic. Each caller must call leave when it no longer needs the flight.
func (f *flights) join(key flightKey, load func() (answer, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if joined := f.underWay[key]; joined != nil {
		joined.users++
		return joined
	}
	begun := &flight{done: make(chan struct{}), users: 2}
	if f.underWay == nil {
		f.underWay = make(map[flightKey]*flight)
	}
	f.underWay[key] = begun
	go func() {
		begun.found, begun.err = load()
		f.mu.Lock()
		delete(f.underWay, key)
		f.mu.Unlock()
		close(begun.done)
		f.leave(begun)
	}()
	return begun
}

// leave ends a caller's use of a flight.
func (f *flights) leave(left *flight) {
	f.mu.Lock()
	left.users--
	last := left.users == 0
	f.mu.Unlock()
	if last {
		clear(left.found.reply)
	}
}
