// Package policy puts one policy for faults in front of any store: retries, a
// time limit for each try, and one circuit breaker each for reads and writes.
//
// Drivers do not retry, nor do their SDKs, so that a caller waits for one
// backoff, not for nested ones.
//
//	call, ends before its deadline ─► retry ─► limit of a try ─► breaker ─► driver
//	                                    ▲                          │
//	                                    └── transient, and open ───┘ refused: store.ErrOpen
//
// Only transient errors are retried, and only they count for the breaker:
// store.ErrUnavailable, store.ErrTimeout, and a try that used up its limit
// while its caller still waited. A Put is safe to repeat because it carries its
// write id.
//
// If a driver does not return when its context ends, the policy leaves it
// behind: the caller gets an error in time, and later results are wiped and
// dropped.
package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"

	"credbus/internal/store"
	"credbus/subjects"
)

// Config bounds the cost of a fault.
type Config struct {
	Retries int           // after the first try; 0 for none
	Backoff time.Duration // before the first retry; doubles, jittered by a quarter; default 100 ms

	// ReadTimeout and WriteTimeout bound a whole call, retries included;
	// defaults 5 s and 10 s. One try gets half: if it hangs on a dead
	// connection, the same time is left for one on a new connection. A smaller
	// share would fail stores that are only slow. If the driver of a write
	// continues after its half, the policy waits and does not repeat the write.
	// Without retries, a try gets all of it.
	ReadTimeout, WriteTimeout time.Duration

	// BreakerFailures is how many failed reads in a row open the breaker of
	// reads, and failed writes that of writes; 0 for never. An open breaker
	// refuses calls without a try. Fewer failures open it if nothing succeeded
	// for 10 s. After BreakerDelay one call may pass as a probe; default 5 s.
	BreakerFailures int
	BreakerDelay    time.Duration
	// Changed is called for every change of a breaker, one call at a time. It
	// must not call the store. Optional.
	Changed func(Change)
}

const (
	// settle is the time in which a driver must return after its context ended.
	// Its result (the write took effect, a permission is missing) is better
	// than a timeout. The time is part of the call's, so that the caller does
	// not wait longer.
	settle = 100 * time.Millisecond
	// maxLeftBehind is how many reads that were left behind may still run, and
	// how many writes. Each costs a goroutine of some KiB.
	maxLeftBehind = 1000
)

// Store is a store behind the policy. It is not a store.Watcher even if its
// driver is one: a watch needs no retries or limits.
type Store struct {
	driver      store.Store
	read, write *kind
	pace        *pace
	closed      atomic.Bool
}

// kind holds the common state of the reads, or of the writes.
type kind struct {
	changes    bool // the content of the store
	whole      time.Duration
	try        time.Duration
	executor   failsafe.Executor[struct{}]
	breaker    *breaker
	leftBehind atomic.Int64
}

// New puts the policy in front of driver.
func New(driver store.Store, config Config) *Store {
	if config.Backoff <= 0 {
		config.Backoff = 100 * time.Millisecond
	}
	if config.ReadTimeout <= 0 {
		config.ReadTimeout = 5 * time.Second
	}
	if config.WriteTimeout <= 0 {
		config.WriteTimeout = 10 * time.Second
	}
	pace := new(pace)
	s := &Store{
		driver: driver,
		read:   newKind(config, pace, config.ReadTimeout, false),
		write:  newKind(config, pace, config.WriteTimeout, true),
		pace:   pace,
	}
	s.read.breaker, s.write.breaker = newBreakers(config)
	return s
}

func newKind(config Config, pace *pace, whole time.Duration, changes bool) *kind {
	const (
		jitter  = 0.25
		longest = 10 * time.Second // between two tries
	)
	k := &kind{changes: changes, whole: whole, try: whole / 2}
	if config.Retries <= 0 {
		// A little less than the call has. The breaker ignores a try that its
		// caller gave up, and it must notice a store that hangs.
		k.try = whole - 2*settleWithin(whole)
	}
	retries := retrypolicy.NewBuilder[struct{}]().
		HandleIf(func(_ struct{}, err error) bool { return retryable(err) || errors.Is(err, timeout.ErrExceeded) }).
		WithMaxRetries(config.Retries).
		WithBackoff(min(config.Backoff, longest/2), longest).
		WithJitterFactor(jitter).
		WithDelayFunc(func(e failsafe.ExecutionAttempt[struct{}]) time.Duration { return pace.delay(e.LastError()) }).
		ReturnLastFailure().
		Build()
	k.executor = failsafe.With(retries, timeout.New[struct{}](k.try))
	return k
}

// transient reports whether the same call may succeed in a moment. The end of
// the caller's context is not transient.
func transient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout)
}

// retryable is transient, except for errors that a retry would only get again.
func retryable(err error) bool {
	return transient(err) && !errors.Is(err, store.ErrOpen)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	return call(ctx, s, s.read, func(ctx context.Context, _ int) (*store.Record, error) { return s.driver.Get(ctx, key) })
}

// GetMulti implements store.MultiGetter, over a driver that does. It does not
// retry the errors of single keys.
func (s *Store) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
	getter, ok := s.driver.(store.MultiGetter)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	keys = slices.Clone(keys) // a try left behind may read them
	return call(ctx, s, s.read, func(ctx context.Context, _ int) ([]store.Found, error) { return getter.GetMulti(ctx, keys) })
}

// GetsMulti implements store.MultiGetter.
func (s *Store) GetsMulti(scope subjects.Scope) bool { return store.CanGetMulti(s.driver, scope) }

// Native implements store.Native.
func (s *Store) Native(scope subjects.Scope) bool { return store.IsNative(s.driver, scope) }

// List implements store.Store.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return call(ctx, s, s.read, func(ctx context.Context, _ int) (store.Page, error) { return s.driver.List(ctx, opts) })
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	// A try left behind may read the record after the call returned.
	own := *rec
	own.Payload, own.Tags = slices.Clone(rec.Payload), maps.Clone(rec.Tags)
	own.Data = rec.Data.Clone()
	values := loan{data: own.Data, users: 1}
	defer values.release()
	return call(ctx, s, s.write, func(ctx context.Context, _ int) (string, error) {
		if !values.acquire() {
			return "", context.Canceled // the try was left behind before it began
		}
		defer values.release()
		return s.driver.Put(ctx, &own, pre)
	})
}

// Delete implements store.Store. If a try fails and the next finds nothing, the
// failed one most likely deleted the record: that is a success.
func (s *Store) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	_, err := call(ctx, s, s.write, func(ctx context.Context, retries int) (struct{}, error) {
		err := s.driver.Delete(ctx, key, pre)
		if retries > 0 && errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}

// Close implements store.Store.
func (s *Store) Close(ctx context.Context) error {
	s.closed.Store(true)
	return s.driver.Close(ctx)
}

// call runs f until it succeeds, fails for good, or the time is up. failsafe-go
// decides when f runs, and when its context ends. But call judges the result by
// what f returned, since the timeout policy replaces even an answer that
// arrived in the same moment.
func call[T any](caller context.Context, s *Store, k *kind, f func(ctx context.Context, retries int) (T, error)) (T, error) {
	ctx, stop := k.bound(caller)
	defer stop()
	var (
		value  T
		err    error // of the last try
		failed error // transient error of an earlier try
	)
	if err := s.pace.wait(ctx); err != nil {
		return value, err
	}
	_ = k.executor.WithContext(ctx).RunWithExecution(func(e failsafe.Execution[struct{}]) error {
		if retryable(err) {
			failed = err
		}
		if value, err = try(ctx, s, k, e, f); !retryable(err) {
			stop() // do not retry the error of the timeout policy either
		}
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, store.ErrOpen):
		if failed != nil {
			// ErrOpen would claim that there was no try at all.
			err = fmt.Errorf("%w; not tried again: %v", failed, err)
		}
	case transient(err):
		if end := ended(caller, ctx); end != nil && !errors.Is(err, end) {
			err = errors.Join(end, err) // the cause is worth more than the timeout
		}
	default:
		if caller.Err() == nil && errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", store.ErrTimeout, err)
		}
		if failed != nil && (k.changes || endedError(err)) {
			// The failed try may have taken effect and another writer may have
			// undone it, or it may still take effect. So the refusal of a later
			// try does not prove that nothing was changed.
			err = errors.Join(err, failed)
		}
	}
	return value, err
}
