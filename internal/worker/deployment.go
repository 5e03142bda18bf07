package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"credbus/internal/build"
	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/deployment"
	"credbus/internal/store"
	"credbus/subjects"
)

// recordSuffix, after the name of the event stream, names the stream that holds
// the deployment's record.
const recordSuffix = "_DEPLOYMENT"

// A running worker checks every checkEvery whether it still fits, and every
// lookEvery whether its keyring has changed.
const (
	checkEvery = time.Minute
	lookEvery  = time.Second
)

func (w *Worker) deploymentConfig() deployment.Config {
	prefix := w.config.NATS.Prefix
	return deployment.Config{
		Conn: w.conn, Prefix: prefix,
		Stream:   w.config.Stream.Name + recordSuffix,
		Replicas: w.config.Stream.Replicas,
		Alone:    func(ctx context.Context) bool { return coherence.Alone(ctx, w.conn, prefix) },
		Change:   w.config.Deployment.Change,
		Logger:   w.logger,
	}
}

// foreseeDeployment stops a start that joinDeployment would stop. It runs
// before the start makes a directory or a keyring, which a later start would
// find.
func (w *Worker) foreseeDeployment(ctx context.Context) (err error) {
	w.deployment, err = deployment.New(ctx, w.deploymentConfig())
	if err != nil {
		return err
	}
	own := w.settledRecord()
	own.Stores = make(map[string]deployment.Store)
	outlives, makes := false, false
	for name, c := range w.config.AllStores() {
		s := deployment.Store{Type: c.Type, Form: c.Form}
		if isNew(c) {
			s.Identity, makes = "in a directory that does not exist", true
		}
		if c.Type == "memory" {
			s.Identity = store.FleetingIdentity
		} else {
			outlives = true
		}
		own.Stores[name] = s
	}
	if outlives {
		keyring, err := w.probeKeyring(ctx)
		if err != nil {
			return err
		}
		own.Keys = keyring
	}
	if !makes {
		return nil // the store's own error says more, and joinDeployment checks anyway
	}
	return w.deployment.Foresee(ctx, own)
}

// isNew reports whether opening a store makes its directory.
func isNew(c config.Store) bool {
	if c.Type != "file" {
		return false
	}
	_, err := os.Stat(c.Dir)
	return errors.Is(err, fs.ErrNotExist)
}

// joinDeployment stops a start if this worker does not fit the running workers.
func (w *Worker) joinDeployment(ctx context.Context) (err error) {
	own, err := w.deploymentRecord(ctx)
	if err != nil {
		return err
	}
	if w.joined, err = w.deployment.Join(ctx, own); err != nil {
		return err
	}
	w.logger.Debug("joined the deployment", "deployment", w.joined.ID)
	w.places = w.findPlaces()
	if err := w.places.Check(ctx); err != nil {
		return err
	}
	// Two workers that start at the same time may not hear each other yet, so
	// both check again soon.
	w.recheck.Store(true)
	return w.places.Answer()
}

// findPlaces returns the stores that may be copies of another worker's.
func (w *Worker) findPlaces() *deployment.Places {
	places := &deployment.Places{Conn: w.conn, Prefix: w.config.NATS.Prefix, Worker: w.name, Host: place(), Started: w.started}
	for _, o := range w.stores {
		if marked, ok := o.driver.(store.Marked); ok {
			places.Places = append(places.Places, deployment.Place{Name: o.name, Identity: w.joined.Stores[o.name].Identity, Store: marked})
		}
	}
	return places
}

// settledRecord returns the part of deploymentRecord that the settings
// determine.
func (w *Worker) settledRecord() deployment.Record {
	own := deployment.Record{
		Protocol: coherence.Protocol,
		Lease:    coherence.DefaultLease,
		Hold:     w.hold(),
		Queue:    w.config.NATS.Queue,
		Routes:   make(map[string]string),
	}
	for _, route := range w.config.Store.Routes {
		own.Routes[string(route.Scope)] = route.Store
	}
	return own
}

// deploymentRecord returns the values that all workers must share, as this
// worker has them.
func (w *Worker) deploymentRecord(ctx context.Context) (own deployment.Record, err error) {
	own = w.settledRecord()
	own.Stores = make(map[string]deployment.Store)
	for _, o := range w.stores {
		identity := ""
		if identified, ok := o.driver.(store.Identified); ok {
			if identity, err = identified.Identity(ctx); err != nil {
				return own, fmt.Errorf("%s: identify the store: %w", config.StoreKey(o.name), err)
			}
		}
		own.Stores[o.name] = deployment.Store{Type: o.config.Type, Form: o.config.Form, Identity: identity}
	}
	own.Keys = []uint32{} // known, if there are none
	if w.keyring != nil {
		for _, key := range w.keyring.Keys() {
			own.Keys = append(own.Keys, key.ID)
		}
	}
	return own, nil
}

// facts returns values that an operator compares between workers: those that
// must be equal, and the settings, which may differ while somebody changes one
// worker after the other.
func (w *Worker) facts() []subjects.Fact {
	facts := []subjects.Fact{
		{Name: "host", Value: place()},
		w.clockFact(),
		{Name: "version", Value: build.Version()},
		{Name: "deployment", Value: w.joined.ID},
		{Name: "protocol", Value: strconv.Itoa(w.joined.Protocol)},
		{Name: "lease", Value: coherence.DefaultLease.String()},
	}
	heard := w.replica.OtherProtocols()
	for _, version := range slices.Sorted(maps.Keys(heard)) {
		facts = append(facts, subjects.Fact{Name: "heard protocol " + strconv.Itoa(version), Value: "of " + heard[version]})
	}
	if n := w.replica.AbsurdLeases(); n > 0 {
		facts = append(facts, subjects.Fact{Name: "heard absurd leases", Value: strconv.FormatInt(n, 10)})
	}
	for _, name := range slices.Sorted(maps.Keys(w.joined.Stores)) {
		facts = append(facts, subjects.Fact{Name: "identity of store " + name, Value: cmp.Or(w.joined.Stores[name].Identity, "unknown")})
	}
	for key, value := range w.config.All() {
		if len(value) > subjects.MaxFactLen {
			value = value[:subjects.MaxFactLen-len("...")] + "..."
		}
		facts = append(facts, subjects.Fact{Name: key, Value: value})
	}
	return facts
}

// watchDeployment ends the worker once it does not fit any more: another store
// may appear behind the same address, and somebody may change the record while
// this worker is cut off. It records new keys at once, so that a worker that
// starts with only the new key fits.
func (w *Worker) watchDeployment(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for checked, loaded := time.Now(), w.keyring.Loaded(); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if !w.recheck.Swap(false) && time.Since(checked) < checkEvery && w.keyring.Loaded().Equal(loaded) {
			continue
		}
		now, keyring := time.Now(), w.keyring.Loaded()
		err := w.checkDeployment(ctx)
		if deployment.IsMisfit(err) {
			w.fail(err)
			return
		}
		if err != nil {
			w.logger.Debug("this worker cannot check now whether it still fits its deployment", "error", err)
			keyring = loaded // check again soon
		}
		checked, loaded = now, keyring
	}
}

func (w *Worker) checkDeployment(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkEvery/2)
	defer cancel()
	own, err := w.deploymentRecord(ctx)
	if err != nil {
		return err
	}
	if err := w.deployment.Check(ctx, own); err != nil {
		return err
	}
	return w.places.Check(ctx)
}

// Failed yields the reason, once, if the worker must not go on. The caller must
// then close the worker.
func (w *Worker) Failed() <-chan error { return w.failed }

func (w *Worker) fail(err error) {
	w.logger.Error("this worker stops", "error", err)
	select {
	case w.failed <- err:
	default: // it already stops
	}
}
