package store

import (
	"errors"
	"time"
)

// throttled is an ErrThrottled whose server says when to come back.
type throttled struct {
	error
	after time.Duration
}

func (t *throttled) Unwrap() error { return t.error }

// Throttled adds to err, an ErrThrottled, how long the server wants to be left
// alone; zero if it does not say.
func Throttled(err error, after time.Duration) error { return &throttled{err, max(after, 0)} }

// RetryAfter returns what [Throttled] added to err, zero if there is nothing.
func RetryAfter(err error) time.Duration {
	if t, ok := errors.AsType[*throttled](err); ok {
		return t.after
	}
	return 0
}
