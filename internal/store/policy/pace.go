package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"credbus/internal/store"
)

// longestPause bounds the pause that a server may demand.
const longestPause = 30 * time.Second

// pace delays calls of a store that limits requests, for as long as the store
// demands (Retry-After). Then all waiting calls may go: a quota is refilled at
// once, and the unused rest of a window is lost. Without a demand, retries wait
// for the usual backoff.
type pace struct {
	mu    sync.Mutex
	until time.Time
}

// limited records that the store answered with err, an ErrThrottled.
func (p *pace) limited(err error) {
	until := time.Now().Add(min(store.RetryAfter(err), longestPause))
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

// left returns how much of the pause is left.
func (p *pace) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until)
}

// wait waits for the end of the pause. It refuses a call without enough time at
// once, without a try.
func (p *pace) wait(ctx context.Context) error {
	for left := p.left(); left > 0; left = p.left() {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= left {
			return fmt.Errorf("%w: %w: it demands a pause of another %s, longer than this call may take: raise the quota, or send fewer requests",
				store.ErrOpen, store.ErrThrottled, left.Round(time.Millisecond))
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil // the try returns the error
		}
	}
	return nil
}

// delay returns how long a retry after err must wait; -1 stands for the usual
// backoff.
func (p *pace) delay(err error) time.Duration {
	left := p.left()
	if !errors.Is(err, store.ErrThrottled) || left <= 0 {
		return -1
	}
	return left + rand.N(left/10+time.Millisecond) // spread them
}
