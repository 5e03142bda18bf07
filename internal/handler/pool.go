package handler

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"credbus/subjects"
)

// pool runs requests, a bounded number at a time and within a memory budget. Waiting
// requests are bounded in number and in bytes.
//
//	request ──► queue ──► its share of the budget ──► a worker ──► run
//
// There are two shares, and so two queues: one tenant's batches and lists wait for
// each other, and requests on a single credential never wait for them.
type pool struct {
	workers chan struct{}
	running sync.WaitGroup
	heavy   share
	light   share
}

// share is a part of the budget and of the queue.
type share struct {
	budget    *semaphore.Weighted
	maxWeight int64

	mu       sync.Mutex
	taken    int
	maxTaken int
	bytes    int64
	maxBytes int64
}

// newPool bounds requests under way to workers and memory bytes, and those that
// wait to waiting and bytes. Heavy requests may take no more than three quarters
// of the memory and of the queue, and half of its bytes.
func newPool(workers, waiting int, bytes, memory int64) *pool {
	p := &pool{workers: make(chan struct{}, workers)}
	p.heavy.bound(workers+waiting/4*3, bytes/2, memory/4*3)
	p.light.bound(workers+waiting, bytes/2, memory/4)
	return p
}

func (s *share) bound(taken int, bytes, memory int64) {
	s.maxTaken, s.maxBytes, s.maxWeight = taken, max(bytes, 1), max(memory, 1)
	s.budget = semaphore.NewWeighted(s.maxWeight)
}

// What a request may take besides its own bytes, by what its command reads and answers. It is
// the most, not the usual: nobody knows more before the request is read.
const (
	// lightWeight is for a record of the largest size, sealed and open, and the reply
	// with it.
	lightWeight = 128 << 10
	// patchWeight is for the record as it is read, and for the new one: open, sealed and as
	// a record.
	patchWeight = lightWeight + copies*subjects.MaxDataLen
	// heavyWeight is for a reply of 1 MiB in msgpack and in JSON, what it is made from,
	// and the records under way.
	heavyWeight = 6 << 20
	// copies is how many copies of a request's own bytes exist: as they came, decoded,
	// sealed, and as a record.
	copies = 4
)

// cost is what a command takes from the worker.
type cost int

const (
	single   cost = iota // it reads, and answers with, one credential at most
	patching             // it reads a credential and writes a changed one
	many                 // it reads, or answers with, more than one
	// everyReplica is a command that waits for all replicas, outside the pool.
	everyReplica
)

// submit runs f on a goroutine once there is room for what its command may take and a worker
// is free. If the queue is full, it reports false and does not run f. A request of any size
// is accepted when nothing else waits.
func (p *pool) submit(cost cost, bytes int, f func()) bool {
	s, weight := &p.light, int64(lightWeight)
	switch cost {
	case many:
		s, weight = &p.heavy, heavyWeight
	case patching:
		weight = patchWeight
	}
	if !s.take(int64(bytes)) {
		return false
	}
	weight = min(weight+copies*int64(bytes), s.maxWeight)
	p.running.Go(func() {
		defer s.give(int64(bytes))
		// Without a deadline it fails only for more than the whole budget.
		_ = s.budget.Acquire(context.Background(), weight)
		defer s.budget.Release(weight)
		p.workers <- struct{}{}
		defer func() { <-p.workers }()
		f()
	})
	return true
}

func (s *share) take(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == s.maxTaken || s.taken > 0 && s.bytes+bytes > s.maxBytes {
		return false
	}
	s.taken++
	s.bytes += bytes
	return true
}

func (s *share) give(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.bytes -= bytes
}

// wait returns when everything submitted has ended. Nothing may be submitted meanwhile.
func (p *pool) wait() { p.running.Wait() }
