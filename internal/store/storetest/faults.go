package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// Operation names a method of [store.Store].
type Operation string

// The operations of a [Faults].
const (
	Get    Operation = "get"
	Put    Operation = "put"
	Delete Operation = "delete"
	List   Operation = "list"
)

// Fault is what happens to a call. The zero Fault does nothing.
type Fault struct {
	// Latency passes before anything else happens, unless the call's context
	// ends first.
	Latency time.Duration
	// Until is waited for next, even if the call's context ends; then the call
	// reaches the store. This is a driver that ignores contexts.
	Until <-chan struct{}
	// Hang waits until the call's context ends.
	Hang bool
	// Err replaces the store's answer.
	Err error
	// Applied makes the call reach the store before Hang and Err: the write
	// takes effect, and only its answer is lost.
	Applied bool
	// Damaged is the reason why the store's records cannot be read: Get reports
	// it with store.ErrDamaged, List shows it in each record. Writes reach the
	// store.
	Damaged string
	// Calls is how many calls the fault lasts for; 0 means until the next Set.
	Calls int
}

// Faults wraps a store, counts its calls and makes them slow, failing or
// silent. Its latency is a timer of package time, so that it costs nothing in
// a synctest bubble.
type Faults struct {
	store.Store

	mu     sync.Mutex
	faults map[Operation]Fault
	calls  map[Operation]int
	active map[Operation]int
	most   map[Operation]int
}

// NewFaults wraps s, without any fault yet. Close closes s.
func NewFaults(s store.Store) *Faults {
	return &Faults{
		Store:  s,
		faults: make(map[Operation]Fault),
		calls:  make(map[Operation]int),
		active: make(map[Operation]int),
		most:   make(map[Operation]int),
	}
}

// Set makes fault happen to the calls of op that begin from now on. Set of the
// zero Fault ends it.
func (f *Faults) Set(op Operation, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[op] = fault
}

// Calls returns how many calls of op have begun.
func (f *Faults) Calls(op Operation) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// MostAtOnce returns the largest number of calls of op that ran at the same
// time.
func (f *Faults) MostAtOnce(op Operation) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most[op]
}

// Get implements [store.Store].
func (f *Faults) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	return call(ctx, f, Get, func(ctx context.Context) (*store.Record, error) { return f.Store.Get(ctx, key) })
}

// Put implements [store.Store].
func (f *Faults) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	return call(ctx, f, Put, func(ctx context.Context) (string, error) { return f.Store.Put(ctx, rec, pre) })
}

// Delete implements [store.Store].
func (f *Faults) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	_, err := call(ctx, f, Delete, func(ctx context.Context) (struct{}, error) { return struct{}{}, f.Store.Delete(ctx, key, pre) })
	return err
}

// List implements [store.Store].
func (f *Faults) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return call(ctx, f, List, func(ctx context.Context) (store.Page, error) { return f.Store.List(ctx, opts) })
}

// Native implements [store.Native].
func (f *Faults) Native(scope subjects.Scope) bool { return store.IsNative(f.Store, scope) }

func call[T any](ctx context.Context, f *Faults, op Operation, reach func(context.Context) (T, error)) (result T, err error) {
	var none T
	fault := f.begin(op)
	defer f.end(op)
	if fault.Latency > 0 {
		timer := time.NewTimer(fault.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
	reached := ctx
	if fault.Until != nil {
		<-fault.Until
		reached = context.WithoutCancel(ctx)
	}
	if fault.Applied || (!fault.Hang && fault.Err == nil) {
		result, err = reach(reached)
	}
	if fault.Damaged != "" && err == nil {
		result, err = damage(result, fault.Damaged)
	}
	if fault.Hang {
		<-ctx.Done()
		return none, ctx.Err()
	}
	if fault.Err != nil {
		return none, fault.Err
	}
	return result, err
}

// damage turns an answer into one that cannot be read.
func damage[T any](result T, reason string) (T, error) {
	switch answer := any(result).(type) {
	case *store.Record:
		var none T
		return none, fmt.Errorf("%w: %s", store.ErrDamaged, reason)
	case store.Page:
		for i, rec := range answer.Records {
			answer.Records[i] = store.Record{Target: rec.Target, Damaged: reason}
		}
	}
	return result, nil
}

func (f *Faults) begin(op Operation) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	f.active[op]++
	f.most[op] = max(f.most[op], f.active[op])
	fault := f.faults[op]
	if fault.Calls == 1 {
		delete(f.faults, op)
	} else if fault.Calls > 1 {
		left := fault
		left.Calls--
		f.faults[op] = left
	}
	return fault
}

func (f *Faults) end(op Operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active[op]--
}
