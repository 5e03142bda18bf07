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

// longestPause bounds what a server may ask for: after that it is asked again.
const longestPause = 30 * time.Second

// pace keeps calls away from a store that limits requests, for as long as it says
// (Retry-After). Then all that wait may go: a quota is refilled for all at once, and
// what one window leaves unused is lost. A store that does not say is tried again
// after the usual backoff.
type pace struct {
	mu    sync.Mutex
	until time.Time
}

// limited notes that the store answered with err, an ErrThrottled.
func (p *pace) limited(err error) {
	until := time.Now().Add(min(store.RetryAfter(err), longestPause))
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

// left is how much of the pause is left.
func (p *pace) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until)
}

// wait waits for the end of the pause. A call that has not the time for it is
// refused at once, without a try.
func (p *pace) wait(ctx context.Context) error {
	for left := p.left(); left > 0; left = p.left() {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= left {
			return fmt.Errorf("%w: %w: it asked to be left alone for another %s, longer than this call may take: raise the quota, or ask for less",
				store.ErrOpen, store.ErrThrottled, left.Round(time.Millisecond))
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil // the try says so
		}
	}
	return nil
}

// delay is how long a retry after err waits; -1 for the usual backoff.
func (p *pace) delay(err error) time.Duration {
	left := p.left()
	if !errors.Is(err, store.ErrThrottled) || left <= 0 {
		return -1
	}
	return left + rand.N(left/10+time.Millisecond) // not all in the same instant
}
