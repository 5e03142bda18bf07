package store

import (
	"errors"
	"time"
)

// throttled is an ErrThrottled whose server says how long to wait.
type throttled struct {
	error
	after time.Duration
}

func (t *throttled) Unwrap() error { return t.error }

// Throttled adds to err, an ErrThrottled, how long the server wants no
// requests; zero if it does not say.
func Throttled(err error, after time.Duration) error { return &throttled{err, max(after, 0)} }

// RetryAfter returns the duration that [Throttled] added to err, or zero.
func RetryAfter(err error) time.Duration {
	if t, ok := errors.AsType[*throttled](err); ok {
		return t.after
	}
	return 0
}
