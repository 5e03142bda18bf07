package manager

import (
	"context"
	"hash/maphash"

	"credbus/subjects"
)

// turns lets one patch of a credential at a time go on in this worker. Without them,
// patches that come at once would fail and read again for each other. Keys share them.
type turns struct {
	seed  maphash.Seed
	taken [256]chan struct{} // each has room for one
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.taken {
		t.taken[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits until nobody has the turn of a key, or ctx ends.
func (t *turns) take(ctx context.Context, key subjects.Target) (end func(), err error) {
	turn := t.taken[maphash.Comparable(t.seed, key)%uint64(len(t.taken))]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
