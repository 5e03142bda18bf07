package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"credbus/internal/config"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/policy"
	"credbus/internal/store/router"
	"credbus/subjects"
)

// opened is a store of the worker.
type opened struct {
	name    string // config.DefaultStore, or the name of one of config.Stores
	config  config.Store
	driver  store.Store
	guarded store.Store // the driver behind the policy for faults
	state   atomic.Pointer[subjects.StoreState]
	probing atomic.Bool // a probe is scheduled
}

// openStores opens all stores at the same time, so that the errors of all
// arrive in time, and puts the router in front of them.
func (w *Worker) openStores(ctx context.Context) error {
	all := w.config.AllStores()
	names := slices.Sorted(maps.Keys(all))
	stores, errs := make([]*opened, len(names)), make([]error, len(names))
	// Stores that opening would create come last: if another store stops the
	// start, none is created.
	makes := make([]bool, len(names))
	for i, name := range names {
		makes[i] = isNew(all[name])
	}
	for _, last := range []bool{false, true} {
		var opening sync.WaitGroup
		for i, name := range names {
			if makes[i] == last {
				opening.Go(func() { stores[i], errs[i] = w.open(ctx, name, all[name]) })
			}
		}
		opening.Wait()
		if errors.Join(errs...) != nil {
			break
		}
	}
	w.stores = slices.DeleteFunc(stores, func(o *opened) bool { return o == nil })
	err := errors.Join(errs...)
	if err == nil {
		routes := make(map[subjects.Scope]string)
		for _, route := range w.config.Store.Routes {
			routes[route.Scope] = route.Store
		}
		w.store, err = router.New(router.Config{Stores: w.storesByName(), Default: config.DefaultStore, Routes: routes})
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseGrace)
		defer cancel()
		for _, o := range w.stores {
			err = errors.Join(err, o.guarded.Close(ctx))
		}
	}
	return err
}

// Drivers give up after 1.8 s by themselves. A driver that does not gets
// openTimeout to return an error, and openGrace to return after its context
// ended, so that the worker reports within 2 s.
const (
	openTimeout = 1850 * time.Millisecond
	openGrace   = 100 * time.Millisecond
)

func (w *Worker) open(ctx context.Context, name string, c config.Store) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	type result struct {
		driver store.Store
		err    error
	}
	results := make(chan result, 1)
	go func() {
		open := openers[c.Type]
		if open == nil {
			results <- result{err: fmt.Errorf("store.type: this worker is built without %s", c.Type)}
			return
		}
		driver, err := open(ctx, w, c)
		results <- result{driver, err}
	}()
	var r result
	select {
	case r = <-results:
	case <-time.After(openTimeout + openGrace):
		r.err = fmt.Errorf("store.type: the %s store did not open in time and gave no reason", c.Type)
		go func() {
			if late := <-results; late.driver != nil {
				late.driver.Close(context.Background()) //nolint:errcheck // nobody waits for its error
			}
		}()
	}
	switch {
	case r.err == nil:
		return w.guard(name, c, r.driver), nil
	case name == config.DefaultStore:
		return nil, r.err
	}
	return nil, fmt.Errorf("%s: %w", config.StoreKey(name), r.err)
}

// guard puts the policy for faults in front of a driver.
func (w *Worker) guard(name string, c config.Store, driver store.Store) *opened {
	o := &opened{name: name, config: c, driver: driver}
	o.state.Store(&subjects.StoreState{Name: name, Type: c.Type, State: subjects.StoreOK, Since: now()})
	o.guarded = policy.New(driver, policy.Config{
		Retries: c.Retries, Backoff: c.RetryBackoff,
		ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
		BreakerFailures: c.BreakerFailures, BreakerDelay: c.BreakerDelay,
		Changed: func(change policy.Change) { w.storeChanged(o, change) },
	})
	return o
}

// now returns the time, rounded as in messages.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// storeChanged records, logs and publishes a change of a store's breakers.
// While a breaker is open, the worker sends probes itself. Otherwise a worker
// that gets no requests, since it is not ready, would never become ready again.
func (w *Worker) storeChanged(o *opened, change policy.Change) {
	was := *o.state.Load()
	log := w.logger.With("store", o.name, "calls", change.Calls, "breaker", change.State)
	state := was
	state.Refuses = refused(change)
	switch change.State {
	case policy.Open:
		state.State, state.Error = subjects.StoreFailing, subjects.StorageUnavailable
		if errors.Is(change.Err, store.ErrTimeout) {
			state.Error = subjects.StorageTimeout
		}
		if was.Refuses != state.Refuses {
			log.Error("the store fails: calls are refused until a probe succeeds (store.breaker_failures, store.breaker_delay)",
				"since", change.Since, "probe", change.Probe, "error", change.Err)
		} else {
			log.Debug("the store still fails", "since", change.Since, "probe", change.Probe, "error", change.Err)
		}
		o.probeIn(time.Until(change.Probe))
	case policy.HalfOpen:
		log.Debug("the store is probed", "since", change.Since)
	default:
		if state.Refuses == "" {
			state.State, state.Error = subjects.StoreOK, ""
		}
		log.Info("the store answers again", "after", time.Since(change.Since).Round(time.Millisecond))
	}
	if state.Refuses != was.Refuses {
		state.Since = now()
	}
	o.state.Store(&state)
	if state.Refuses != was.Refuses {
		w.tell(state)
	}
}

// refused names the calls with a breaker that is not closed, or "".
func refused(change policy.Change) string {
	switch {
	case change.State != policy.Closed && change.Other != policy.Closed:
		return subjects.RefusesAll
	case change.State == policy.Closed && change.Other == policy.Closed:
		return ""
	case (change.State != policy.Closed) == (change.Calls == policy.Reads):
		return subjects.RefusesReads
	}
	return subjects.RefusesWrites
}

// tell publishes the state of a store. It does not wait: subscribers can also
// request the states of all stores.
func (w *Worker) tell(state subjects.StoreState) {
	status := &subjects.StoreStatus{StoreState: state, Replica: w.name}
	if err := w.conn.Publish(subjects.Prefix(w.config.NATS.Prefix).StoreStatus(state.Name), subjects.Append(nil, status)); err != nil {
		w.logger.Warn("the state of the store could not be published", "store", state.Name, "state", state.State, "error", err)
	}
}

// probeKey most likely does not exist. A store that reports this works.
var probeKey = subjects.Target{Scope: "credbus:probe", ID: "probe"}

// probeIn schedules a probe, unless one is scheduled already.
func (o *opened) probeIn(delay time.Duration) {
	if o.probing.CompareAndSwap(false, true) {
		time.AfterFunc(delay, func() {
			o.probing.Store(false)
			o.probe(delay)
		})
	}
}

// probe reads from the store, so that the breaker of reads sees whether the
// store answers. It never writes. While only writes fail, it goes on to read,
// because readiness must know whether the whole store is gone.
func (o *opened) probe(delay time.Duration) {
	rec, err := o.guarded.Get(context.Background(), probeKey)
	if err == nil {
		rec.Data.Wipe()
	}
	if !errors.Is(err, store.ErrClosed) && o.state.Load().State != subjects.StoreOK {
		o.probeIn(delay)
	}
}

// storeStates returns the states of all stores.
func (w *Worker) storeStates() (states []subjects.StoreState) {
	for _, o := range w.stores {
		states = append(states, *o.state.Load())
	}
	return states
}

func (w *Worker) storesByName() map[string]store.Store {
	stores := make(map[string]store.Store)
	for _, o := range w.stores {
		stores[o.name] = o.guarded
	}
	return stores
}

// storeTimeouts returns the longest timeouts of all stores.
func (w *Worker) storeTimeouts() (read, write time.Duration) {
	for _, o := range w.stores {
		read, write = max(read, o.config.ReadTimeout), max(write, o.config.WriteTimeout)
	}
	return read, write
}

// storeLag returns the longest lag of all stores.
func (w *Worker) storeLag() (lag time.Duration) {
	for _, o := range w.stores {
		lag = max(lag, lagOf(o.config))
	}
	return lag
}

// storeOf returns the store that keeps a scope.
func (w *Worker) storeOf(scope subjects.Scope) *opened {
	name := w.store.Name(scope)
	for _, o := range w.stores {
		if o.name == name {
			return o
		}
	}
	return nil
}

// keeper returns a function that names the store of a scope. It returns nil if
// there is only one store.
func (w *Worker) keeper() func(subjects.Scope) string {
	if len(w.stores) == 1 {
		return nil
	}
	return w.store.Name
}

// lags reports whether the store of a scope may return the old state after a
// write.
func (w *Worker) lags(scope subjects.Scope) bool {
	o := w.storeOf(scope)
	return o != nil && lagOf(o.config) > 0
}

// newer compares two versions of the store of a scope. known is false if it
// cannot.
func (w *Worker) newer(scope subjects.Scope, a, b string) (newer, known bool) {
	o := w.storeOf(scope)
	if o == nil {
		return false, false
	}
	ordered, ok := o.driver.(store.Ordered)
	if !ok {
		return false, false
	}
	return ordered.Newer(a, b)
}

// index returns the index of the store of a scope, or "".
func (w *Worker) index(scope subjects.Scope) string {
	if consistent, ok := w.consistent(scope); ok {
		return consistent.Index()
	}
	return ""
}

// observe counts another worker's write, and hands its index to the store that keeps its scope.
func (w *Worker) observe(done *subjects.Event) {
	if m := w.writes.Load(); m != nil { // none while the worker starts: then nothing is counted yet
		m.Heard(done.Scope, done.Kind)
	}
	if done.Index == "" {
		return
	}
	consistent, ok := w.consistent(done.Scope)
	if !ok {
		return
	}
	// Use the keys in memory: reading the file would delay the event stream.
	if index, ok := manager.OpenIndex(w.keyring.Keyring(), done); ok {
		consistent.Observe(index)
	}
}

func (w *Worker) consistent(scope subjects.Scope) (store.Consistent, bool) {
	o := w.storeOf(scope)
	if o == nil {
		return nil, false
	}
	consistent, ok := o.driver.(store.Consistent)
	return consistent, ok
}
