// Package retry puts one retry policy in front of any store.
//
// Drivers do not retry, and their SDKs are told not to, so that a caller waits
// for one backoff, not for one inside another. Only transient errors are tried
// again, within the caller's deadline. A Put is safe to repeat because it
// carries its write id.
package retry

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"credbus/internal/store"
)

// Config bounds the retries.
type Config struct {
	Retries int           // after the first try; 0 for none
	Backoff time.Duration // before the first retry; doubles, jittered by a quarter; default 100 ms
}

// Store is a store whose transient failures are tried again.
type Store struct {
	store.Store
	executor failsafe.Executor[any]
}

// New puts retries in front of s.
func New(s store.Store, config Config) *Store {
	if config.Backoff <= 0 {
		config.Backoff = 100 * time.Millisecond
	}
	const (
		jitter  = 0.25
		longest = 10 * time.Second // between two tries
	)
	policy := retrypolicy.NewBuilder[any]().
		HandleIf(func(_ any, err error) bool { return transient(err) }).
		WithMaxRetries(config.Retries).
		WithBackoff(min(config.Backoff, longest/2), longest).
		WithJitterFactor(jitter).
		ReturnLastFailure().
		Build()
	return &Store{Store: s, executor: failsafe.With(policy)}
}

// transient reports whether the same call may succeed in a moment. A context
// that ended is the caller's and does not come back.
func transient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
	return try(ctx, s, func(int) (*store.Record, error) { return s.Store.Get(ctx, key) })
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	return write(ctx, s, func(int) (string, error) { return s.Store.Put(ctx, rec, pre) })
}

// Delete implements store.Store. When a try failed and the next finds nothing,
// the record is gone, most likely by the try that failed: that is a success.
func (s *Store) Delete(ctx context.Context, key store.Key, pre store.Precondition) error {
	_, err := write(ctx, s, func(retries int) (struct{}, error) {
		err := s.Store.Delete(ctx, key, pre)
		if retries > 0 && errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return try(ctx, s, func(int) (store.Page, error) { return s.Store.List(ctx, opts) })
}

// write is try for what changes the store. A try that failed may have landed,
// and been undone since by another writer, or may land yet. So the error that a
// later try is refused with wraps what the earlier one failed with as well: it
// does not say for certain that nothing was changed.
func write[T any](ctx context.Context, s *Store, f func(retries int) (T, error)) (T, error) {
	var failed error
	value, err := try(ctx, s, func(retries int) (T, error) {
		value, err := f(retries)
		if transient(err) {
			failed = err
		}
		return value, err
	})
	if err != nil && failed != nil && !transient(err) {
		err = errors.Join(err, failed)
	}
	return value, err
}

// try runs f until it succeeds, fails for good, or ctx ends.
func try[T any](ctx context.Context, s *Store, f func(retries int) (T, error)) (T, error) {
	var last error
	result, err := s.executor.WithContext(ctx).GetWithExecution(func(e failsafe.Execution[any]) (any, error) {
		var value T
		value, last = f(e.Retries())
		return value, last
	})
	if err != nil && last != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		// What kept it from answering in time is worth more than the time.
		err = errors.Join(err, last)
	}
	value, _ := result.(T)
	return value, err
}
