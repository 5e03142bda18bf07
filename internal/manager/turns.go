package manager

import (
	"context"
	"hash/maphash"

	"credbus/subjects"
)

// turns lets only one patch of a credential run at a time in this worker.
// Without turns, concurrent patches would make each other fail and read again.
// Several keys may share a turn.
type turns struct {
	seed  maphash.Seed
	taken [256]chan struct{} // capacity 1 each
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.taken {
		t.taken[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits until the turn of a key is free, or ctx ends.
func (t *turns) take(ctx context.Context, key subjects.Target) (end func(), err error) {
	turn := t.taken[maphash.Comparable(t.seed, key)%uint64(len(t.taken))]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
