package testbed

import "context"

// Expiring returns a context whose deadline passes when parent is cancelled. So a test need
// not guess how long it takes to send something.
func Expiring(parent context.Context) context.Context { return expiring{parent} }

type expiring struct{ context.Context }

// Value hides the parent from package context, which could otherwise use its cancellation directly.
func (expiring) Value(any) any { return nil }

func (c expiring) Err() error {
	if c.Context.Err() != nil {
		return context.DeadlineExceeded
	}
	return nil
}
