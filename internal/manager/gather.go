package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// gather has the reads of one batch share calls of a store that reads several
// records at once: an item that misses waits here until no other item of the
// batch can come to miss as well, and one call reads for all who wait.
//
//	item ─► cache ─► token ─► flight ─┐
//	item ─► cache ─► token ─► flight ─┼─► gather ─► store.Batcher
//	item ─► cache ─► hit              ┘
//
// Each item has taken its token before it waits, so what the protocol between
// replicas demands of a read holds for a shared one.
type gather struct {
	store   store.Store
	batches func(subjects.Scope) bool
	// read reads several records within the time of one read. It goes on if an item
	// of the batch gives up, since other readers may have joined that flight.
	read  func([]store.Key) ([]store.Found, error)
	alone chan struct{} // one for each read under way of what cannot be shared

	mu      sync.Mutex
	working int // items that may come to wait
	waiting []*gathered
	timer   *time.Timer // runs while somebody waits
}

// gathered is a read that waits until done is closed.
type gathered struct {
	key   store.Key
	done  chan struct{}
	found store.Found
	err   error // of the whole call
}

// gatherWindow is how long the first who waits does so for the others. An item
// that waits for something else, such as the flight of another request, may
// take long to come.
const gatherWindow = time.Millisecond

// gathering returns a gather for the reads of a batch of n items below scope, or nil if the
// store cannot make use of one. allowed is how many reads may go to the store at once.
func (r *records) gathering(ctx context.Context, scope subjects.Scope, n, allowed int) *gather {
	if !store.CanBatch(r.config.Store, scope) {
		return nil
	}
	batcher := r.config.Store.(store.Batcher)
	background := context.WithoutCancel(ctx)
	return &gather{
		store:   batcher,
		batches: batcher.Batches,
		read: func(keys []store.Key) ([]store.Found, error) {
			ctx, cancel := context.WithTimeout(background, r.config.ReadTimeout)
			defer cancel()
			return batcher.GetBatch(ctx, keys)
		},
		alone:   make(chan struct{}, allowed),
		working: n,
	}
}

// fetch reads a record from the store.
type fetch func(context.Context, store.Key) (*store.Record, error)

// fetching is how the reads of a request fetch: together, if it has a gather.
func (r *records) fetching(g *gather) fetch {
	if g == nil {
		return r.config.Store.Get
	}
	return g.fetch
}

// fetch reads a record, together with others of the batch.
func (g *gather) fetch(ctx context.Context, key store.Key) (*store.Record, error) {
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
		return g.store.Get(ctx, key) // which is tried again, as a part of a call is not
	}
	return found.Record, found.Err
}

// get waits for the call that reads key.
func (g *gather) get(ctx context.Context, key store.Key) (store.Found, error) {
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

// discard wipes what nobody waits for any more.
func (r *gathered) discard() {
	<-r.done
	if r.found.Record != nil {
		r.found.Record.Data.Wipe()
	}
}

// leave tells that an item has ended. A nil gather has nothing to hear.
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

// callLocked begins one call for all who wait.
func (g *gather) callLocked() {
	reads := g.waiting
	if len(reads) == 0 {
		return
	}
	g.timer.Stop()
	g.timer, g.waiting = nil, nil
	g.working += len(reads)
	go func() {
		keys := make([]store.Key, len(reads))
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
