package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// gather lets the reads of one batch share calls of a store that reads several
// records at once. An item that misses waits here until no other item of the
// batch can still miss. Then one call reads for all waiting items.
//
//	item ─► cache ─► token ─► flight ─┐
//	item ─► cache ─► token ─► flight ─┼─► gather ─► store.MultiGetter
//	item ─► cache ─► hit              ┘
//
// Each item takes its token before it waits, so a shared read meets the demands
// of the protocol between replicas.
type gather struct {
	store   store.Store
	batches func(subjects.Scope) bool
	// read reads several records in the time of one read. It continues when an
	// item of the batch gives up, since other readers may have joined its
	// flight.
	read  func([]subjects.Target) ([]store.Found, error)
	alone chan struct{} // limits the reads that cannot be shared

	mu      sync.Mutex
	working int // items that may still have to wait
	waiting []*gathered
	timer   *time.Timer // runs while an item waits
}

// gathered is a read that waits until done is closed.
type gathered struct {
	key   subjects.Target
	done  chan struct{}
	found store.Found
	err   error // of the whole call
}

// gatherWindow is how long the first waiting item waits for others. An item
// that waits for something else, such as the flight of another request, may
// arrive late.
const gatherWindow = time.Millisecond

// gathering returns a gather for the reads of a batch of n items below scope,
// or nil if the store cannot use one. allowed is how many reads may go to the
// store at once.
func (r *records) gathering(ctx context.Context, scope subjects.Scope, n, allowed int) *gather {
	if !store.CanGetMulti(r.config.Store, scope) {
		return nil
	}
	getter := r.config.Store.(store.MultiGetter)
	background := context.WithoutCancel(ctx)
	return &gather{
		store:   getter,
		batches: getter.GetsMulti,
		read: func(keys []subjects.Target) ([]store.Found, error) {
			ctx, cancel := context.WithTimeout(background, r.config.ReadTimeout)
			defer cancel()
			return getter.GetMulti(ctx, keys)
		},
		alone:   make(chan struct{}, allowed),
		working: n,
	}
}

// fetch reads a record from the store.
type fetch func(context.Context, subjects.Target) (*store.Record, error)

// fetching returns the function by which the reads of a request fetch:
// together, if it has a gather.
func (r *records) fetching(g *gather) fetch {
	if g == nil {
		return r.config.Store.Get
	}
	return g.fetch
}

// fetch reads a record, together with others of the batch.
func (g *gather) fetch(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if !g.batches(key.Scope) {
		select {
		case g.alone <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() { <-g.alone }()
		return g.store.Get(ctx, key)
	}
	found, err := g.get(ctx, key)
	if err != nil {
		return nil, err
	}
	if errors.Is(found.Err, store.ErrUnavailable) || errors.Is(found.Err, store.ErrTimeout) {
		return g.store.Get(ctx, key) // which the policy retries, unlike a part of a shared call
	}
	return found.Record, found.Err
}

// get waits for the call that reads key.
func (g *gather) get(ctx context.Context, key subjects.Target) (store.Found, error) {
	read := &gathered{key: key, done: make(chan struct{})}
	g.mu.Lock()
	g.working--
	g.waiting = append(g.waiting, read)
	if g.timer == nil {
		g.timer = time.AfterFunc(gatherWindow, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.callLocked()
		})
	}
	if g.working <= 0 {
		g.callLocked()
	}
	g.mu.Unlock()
	select {
	case <-read.done:
		return read.found, read.err
	case <-ctx.Done():
		go read.discard()
		return store.Found{}, ctx.Err()
	}
}

// discard wipes the results that no item waits for any more.
func (r *gathered) discard() {
	<-r.done
	if r.found.Record != nil {
		r.found.Record.Data.Wipe()
	}
}

// leave records that an item has ended. On a nil gather it does nothing.
func (g *gather) leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.working--; g.working <= 0 {
		g.callLocked()
	}
}

// callLocked begins one call for all waiting items.
func (g *gather) callLocked() {
	reads := g.waiting
	if len(reads) == 0 {
		return
	}
	g.timer.Stop()
	g.timer, g.waiting = nil, nil
	g.working += len(reads)
	go func() {
		keys := make([]subjects.Target, len(reads))
		for i, read := range reads {
			keys[i] = read.key
		}
		var found []store.Found
		err := runItem(func() (err error) {
			found, err = g.read(keys)
			return err
		})
		for i, read := range reads {
			if read.err = err; err == nil {
				read.found = found[i]
			}
			close(read.done)
		}
	}()
}
