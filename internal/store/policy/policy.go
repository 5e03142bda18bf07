// Package policy puts one policy for faults in front of any store: retries, a
// limit for each single try, and a circuit breaker each for reads and writes.
//
// Drivers do not retry, and their SDKs are told not to, so that a caller waits
// for one backoff, not for one inside another.
//
//	call, ends before its deadline ─► retry ─► limit of a try ─► breaker ─► driver
//	                                    ▲                          │
//	                                    └── transient, and open ───┘ refused: store.ErrOpen
//
// Only transient errors are tried again, and only they count for the breaker:
// store.ErrUnavailable, store.ErrTimeout, and a try that used up its limit
// while its caller still waited. A Put is safe to repeat because it carries its
// write id.
//
// A driver that does not return when its context ends is left behind: its
// caller gets an error in time, and what it returns later is wiped and dropped.
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

// Config bounds what a fault may cost.
type Config struct {
	Retries int           // after the first try; 0 for none
	Backoff time.Duration // before the first retry; doubles, jittered by a quarter; default 100 ms

	// ReadTimeout and WriteTimeout bound a whole call, retries included;
	// defaults 5 s and 10 s. One try gets half: if it hangs, as a request does
	// that a dead connection swallowed, as much is left for one on a new
	// connection. A smaller share would cost stores that are slow, not gone,
	// their answer. A write whose driver goes on after that is waited for, not
	// repeated. Without retries a try gets all of it.
	ReadTimeout, WriteTimeout time.Duration

	// BreakerFailures is how many reads in a row must fail for reads to be refused
	// without a try, and how many writes for writes; 0 for never. Fewer failures
	// do if nothing succeeded for 10 s. BreakerDelay is how long calls are refused
	// until one is let through to probe; default 5 s.
	BreakerFailures int
	BreakerDelay    time.Duration
	// Changed is told of every change of a breaker, one after the other. It
	// must not call the store. Optional.
	Changed func(Change)
}

const (
	// settle is what a driver is given to return when its context has ended:
	// what it knows by then (that the write did land, that a permission is
	// missing) is better than that it took too long. It is part of the call's
	// time, so that the caller does not wait for it in addition.
	settle = 100 * time.Millisecond
	// maxLeftBehind is how many reads may have been left behind and not have
	// returned yet, and how many writes. Each costs a goroutine of some KiB.
	maxLeftBehind = 1000
)

// Store is a store behind the policy. It does not pass on that its driver is a
// store.Watcher: watching has no use for retries or limits.
type Store struct {
	driver      store.Store
	read, write *kind
	pace        *pace
	closed      atomic.Bool
}

// kind is what the reads have in common, or the writes.
type kind struct {
	changes    bool // what is in the store
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
		// A little less than the call has: a try that its caller gave up says
		// nothing to the breaker, and a store that hangs is to be noticed.
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

// transient reports whether the same call may succeed in a moment. A context
// that ended is the caller's and does not come back.
func transient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout)
}

// retryable is transient, but for what would only be refused once more.
func retryable(err error) bool {
	return transient(err) && !errors.Is(err, store.ErrOpen)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
	return call(ctx, s, s.read, func(ctx context.Context, _ int) (*store.Record, error) { return s.driver.Get(ctx, key) })
}

// GetBatch implements store.Batcher, over a driver that does. What a single key
// failed with is not tried again here.
func (s *Store) GetBatch(ctx context.Context, keys []store.Key) ([]store.Found, error) {
	batcher, ok := s.driver.(store.Batcher)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	keys = slices.Clone(keys) // a try that is left behind may look at them
	return call(ctx, s, s.read, func(ctx context.Context, _ int) ([]store.Found, error) { return batcher.GetBatch(ctx, keys) })
}

// Batches implements store.Batcher.
func (s *Store) Batches(scope subjects.Scope) bool { return store.CanBatch(s.driver, scope) }

// Native implements store.Native.
func (s *Store) Native(scope subjects.Scope) bool { return store.IsNative(s.driver, scope) }

// List implements store.Store.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return call(ctx, s, s.read, func(ctx context.Context, _ int) (store.Page, error) { return s.driver.List(ctx, opts) })
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	// A try that is left behind may look at it when it is the caller's again.
	own := *rec
	own.Payload, own.Tags = slices.Clone(rec.Payload), maps.Clone(rec.Tags)
	own.Data = rec.Data.Clone()
	values := loan{data: own.Data, users: 1}
	defer values.release()
	return call(ctx, s, s.write, func(ctx context.Context, _ int) (string, error) {
		if !values.acquire() {
			return "", context.Canceled // left behind before it began
		}
		defer values.release()
		return s.driver.Put(ctx, &own, pre)
	})
}

// Delete implements store.Store. When a try failed and the next finds nothing,
// the record is gone, most likely by the try that failed: that is a success.
func (s *Store) Delete(ctx context.Context, key store.Key, pre store.Precondition) error {
	_, err := call(ctx, s, s.write, func(ctx context.Context, retries int) (struct{}, error) {
		err := s.driver.Delete(ctx, key, pre)
		if retries > 0 && errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}

// Close implements store.Store. It does not wait for tries that were left
// behind.
func (s *Store) Close() error {
	s.closed.Store(true)
	return s.driver.Close()
}

// call runs f until it succeeds, fails for good, or the time is up. failsafe-go
// decides when f runs, and when its context ends; what came of it is judged by
// what f returned, since its timeout policy replaces even an answer that came
// in the same moment.
func call[T any](caller context.Context, s *Store, k *kind, f func(ctx context.Context, retries int) (T, error)) (T, error) {
	ctx, stop := k.bound(caller)
	defer stop()
	var (
		value  T
		err    error // of the last try
		failed error // transiently, of a try before it
	)
	if err := s.pace.wait(ctx); err != nil {
		return value, err
	}
	_ = k.executor.WithContext(ctx).RunWithExecution(func(e failsafe.Execution[struct{}]) error {
		if retryable(err) {
			failed = err
		}
		if value, err = try(ctx, s, k, e, f); !retryable(err) {
			stop() // what the timeout policy makes of it is not to be repeated either
		}
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, store.ErrOpen):
		if failed != nil {
			// ErrOpen would say that there was no try at all.
			err = fmt.Errorf("%w; not tried again: %v", failed, err)
		}
	case transient(err):
		if end := ended(caller, ctx); end != nil && !errors.Is(err, end) {
			err = errors.Join(end, err) // what kept it from answering is worth more than the time
		}
	default:
		if caller.Err() == nil && errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", store.ErrTimeout, err)
		}
		if failed != nil && (k.changes || endedError(err)) {
			// The try that failed may have landed, and been undone since by another
			// writer, or may land yet: what a later one is refused with does not
			// say for certain that nothing was changed.
			err = errors.Join(err, failed)
		}
	}
	return value, err
}
