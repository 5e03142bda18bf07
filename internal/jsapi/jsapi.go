// Package jsapi asks JetStream's API with patience: for what the same question
// gets in a moment, it is asked again.
package jsapi

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/nats-io/nats.go/jetstream"
)

// Ask returns what ask gets, which must be safe to repeat.
//
// What is not answered within 3 s is asked again until ctx ends: while a cluster
// agrees on a leader, questions to it get lost, above all when several workers
// ask for the same stream at once. What the server refuses because it could not
// make the files of a stream is asked again for about a second: nats-server 2.15.2
// now and then says so of a stream that is made right after one of its name was
// deleted, and makes it the next time.
//
// When ctx ends, the error is context.DeadlineExceeded or context.Canceled.
func Ask[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	const patience = 3 * time.Second
	unanswered := retrypolicy.NewBuilder[T]().
		HandleIf(func(_ T, err error) bool { return isUnanswered(err) && ctx.Err() == nil }).
		WithMaxRetries(-1).
		ReturnLastFailure().
		Build()
	refused := retrypolicy.NewBuilder[T]().
		HandleIf(func(_ T, err error) bool { return isTransient(err) }).
		WithMaxRetries(6).
		WithBackoff(20*time.Millisecond, time.Second).
		ReturnLastFailure().
		Build()
	answer, err := failsafe.With(unanswered, refused, timeout.New[T](patience)).
		WithContext(ctx).
		GetWithExecution(func(exec failsafe.Execution[T]) (T, error) { return ask(exec.Context()) })
	if errors.Is(err, timeout.ErrExceeded) {
		err = context.DeadlineExceeded
	}
	return answer, err
}

func isUnanswered(err error) bool {
	return errors.Is(err, timeout.ErrExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// isTransient knows the server's "error creating store for stream", which shares
// its code with refusals that last.
func isTransient(err error) bool {
	const streamCreateFailed = 10049
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == streamCreateFailed && refused.Description == "error creating store for stream"
}
