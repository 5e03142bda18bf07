package handler

import "sync"

// pool runs requests, some at a time. What waits is bounded in number and in
// bytes.
type pool struct {
	workers chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	taken    int
	maxTaken int
	bytes    int64
	maxBytes int64
}

func newPool(workers, waiting int, bytes int64) *pool {
	return &pool{workers: make(chan struct{}, workers), maxTaken: workers + waiting, maxBytes: bytes}
}

// submit runs f on a goroutine once a worker is free. It reports false, and
// does not run f, when the pool is full. A request of any size is taken when
// nothing else waits.
func (p *pool) submit(bytes int, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == p.maxTaken || p.taken > 0 && p.bytes+int64(bytes) > p.maxBytes {
		return false
	}
	p.taken++
	p.bytes += int64(bytes)
	p.running.Go(func() {
		p.workers <- struct{}{}
		defer func() {
			<-p.workers
			p.mu.Lock()
			p.taken--
			p.bytes -= int64(bytes)
			p.mu.Unlock()
		}()
		f()
	})
	return true
}

// wait returns when everything submitted has ended. Nothing may be submitted
// meanwhile.
func (p *pool) wait() { p.running.Wait() }
