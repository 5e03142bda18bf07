// Package jsapi calls JetStream's API with retries for failures that pass, and creates
// and checks the streams of a deployment.
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

// Ask calls ask, which must be safe to repeat, and returns its result.
//
// If there is no answer within 3 s, it asks again until ctx ends: while a cluster
// elects a leader, requests to it get lost, above all when several workers ask for
// the same stream at once. If the server could not create the files of a stream, it
// asks again for about a second: nats-server 2.15.2 sometimes refuses so when a stream
// is created right after one of its name was deleted, and creates it the next time.
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

// isTransient recognises the server's "error creating store for stream". Permanent
// refusals have the same code.
func isTransient(err error) bool {
	const streamCreateFailed = 10049
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == streamCreateFailed && refused.Description == "error creating store for stream"
}
