package testbed

import "context"

// Expiring is a context whose deadline has come when parent is cancelled, so that a
// test need not guess how long it takes to send something.
func Expiring(parent context.Context) context.Context { return expiring{parent} }

type expiring struct{ context.Context }

// Value hides from package context that it could be told of the cancellation directly.
func (expiring) Value(any) any { return nil }

func (c expiring) Err() error {
	if c.Context.Err() != nil {
		return context.DeadlineExceeded
	}
	return nil
}
