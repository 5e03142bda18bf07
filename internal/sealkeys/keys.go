package sealkeys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/lifecycle"
	"credbus/internal/seal"
	"credbus/subjects"
)

// Keyring is the part of a seal.Keyring that seals the ring, or of a seal.Live,
// which may change at any time.
type Keyring interface {
	Seal(plaintext []byte, b seal.Binding) ([]byte, error)
	Open(sealed []byte, b seal.Binding) ([]byte, error)
	SealedByPrimary(sealed []byte) bool
	Keys() []seal.Key
}

// Config holds the parts and settings of Keys. Conn, Keyring, Prefix and Stream
// are required.
type Config struct {
	Conn    *nats.Conn
	Keyring Keyring
	// Fleeting is set if the keyring is in memory only. The keys are then in
	// memory too, and are lost with it.
	Fleeting bool
	Prefix   subjects.Prefix
	Stream   string           // of the queue (jobs.stream); the name of the bucket begins with it
	Replicas int              // copies of the bucket
	Now      func() time.Time // by the clock of the NATS servers; default time.Now
	Logger   *slog.Logger     // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Keys are the keys of a worker. The methods may be called concurrently.
type Keys struct {
	config Config
	bucket jetstream.KeyValue // nil where the ring is in memory only
	ring   atomic.Pointer[ring]
	// changing orders the reads of the bucket, so that an older ring never
	// replaces a newer one, and with it the key that somebody looks for.
	changing lifecycle.Turn
	running  lifecycle.Turn
	failing  atomic.Pointer[error] // nil unless the last refresh of Run failed
}

// Open reads the ring, or makes it if there is none, and brings it up to date.
func Open(ctx context.Context, config Config) (*Keys, error) {
	if config.Conn == nil || config.Keyring == nil || config.Prefix == "" || config.Stream == "" {
		return nil, errors.New("sealkeys: Conn, Keyring, Prefix and Stream are required")
	}
	k := &Keys{config: config.withDefaults()}
	js, err := jetstream.New(config.Conn)
	if err != nil {
		return nil, err
	}
	if config.Fleeting {
		return k, k.openFleeting(ctx, js)
	}
	name := k.config.bucket()
	if _, err := jsapi.Ensure(ctx, js, Spec(k.config)); err != nil {
		return nil, k.explain(err)
	}
	k.bucket, err = jsapi.Ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) { return js.KeyValue(ctx, name) })
	if err != nil {
		return nil, k.explain(err)
	}
	return k, k.Refresh(ctx)
}

// openFleeting makes a ring in memory only, since it is lost with the keyring.
// It fails if the bucket has a ring: then clients may seal to the keys of
// workers that keep their keyring, which this worker does not have.
func (k *Keys) openFleeting(ctx context.Context, js jetstream.JetStream) error {
	bucket, err := js.KeyValue(ctx, k.config.bucket())
	if err == nil {
		_, err = bucket.Get(ctx, ringName)
	}
	switch {
	case err == nil:
		return fmt.Errorf("the queue %s belongs to workers that keep their keyring, but this worker has its keyring in memory only, since its store is of type memory: give it another nats.prefix and jobs.stream (bucket %s): %w",
			k.config.Stream, k.config.bucket(), ErrForeign)
	case !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrKeyNotFound):
		return k.explain(err)
	}
	r := newRing()
	if _, err := r.addKey(k.config.Keyring, k.config.Now()); err != nil {
		return err
	}
	k.ring.Store(r)
	return nil
}

// Current is the key that clients must seal to now.
func (k *Keys) Current() Key { return k.ring.Load().current() }

// Key returns the key of that ID, to which something was sealed. If it is
// missing, Refresh may bring it: another worker may have just added it.
func (k *Keys) Key(id string) (Key, bool) {
	for _, key := range k.ring.Load().keys {
		if key.ID == id {
			return key, true
		}
	}
	return Key{}, false
}

// All returns all keys, the oldest first.
func (k *Keys) All() []Key { return slices.Clone(k.ring.Load().keys) }

// Secret is a key for digests that only workers can compute. All workers have the same.
func (k *Keys) Secret() [SecretLen]byte { return k.ring.Load().secret }

// Refresh takes over the changes of other workers. It makes a key if the
// keyring's primary is not the one under which the current key was made.
func (k *Keys) Refresh(ctx context.Context) error {
	return k.change(ctx, func(r *ring) (bool, error) { return r.addKey(k.config.Keyring, k.config.Now()) })
}

// Drop removes a key if it is the oldest of several.
func (k *Keys) Drop(ctx context.Context, id string) (dropped bool, err error) {
	err = k.change(ctx, func(r *ring) (bool, error) {
		if dropped = len(r.keys) > 1 && r.keys[0].ID == id; dropped {
			r.keys = r.keys[1:]
		}
		return dropped, nil
	})
	return dropped && err == nil, err
}

// change applies a change to the ring in the bucket, and takes over the result.
func (k *Keys) change(ctx context.Context, change func(*ring) (changed bool, err error)) error {
	if k.bucket == nil {
		return nil
	}
	var r *ring
	var err error
	k.changing.Do(ctx, func() {
		r, err = updateRing(ctx, k.bucket, k.config.Keyring, func(r *ring, _ bool) (bool, error) { return change(r) })
		if err == nil && len(r.keys) > 0 { // Drop may find that somebody deleted the ring
			k.ring.Store(r)
		}
	})
	if r == nil && err == nil {
		return ctx.Err() // the turn did not come
	}
	return err
}

// Run refreshes the keys until ctx ends.
func (k *Keys) Run(ctx context.Context) { k.running.Do(ctx, func() { k.run(ctx) }) }

func (k *Keys) run(ctx context.Context) {
	const (
		every  = 10 * time.Second
		within = 5 * time.Second
	)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		refreshing, cancel := context.WithTimeout(ctx, within)
		err := k.Refresh(refreshing)
		cancel()
		if ctx.Err() == nil {
			k.note(err)
		}
	}
}

// note logs when the refreshes begin to fail, and when that is over.
func (k *Keys) note(err error) {
	const what = "the keys that jobs and requests are sealed to cannot be refreshed"
	before := k.failing.Load()
	switch {
	case err == nil && before != nil:
		k.failing.Store(nil)
		k.config.Logger.Info("over: " + what)
	case err != nil:
		k.failing.Store(&err)
		if before == nil {
			k.config.Logger.Warn(what, "error", err)
		}
	}
}

// Ready returns why Run could not refresh the keys, or nil: a worker that lags
// behind the others tells clients of an old key.
func (k *Keys) Ready() error {
	if err := k.failing.Load(); err != nil {
		return *err
	}
	return nil
}
