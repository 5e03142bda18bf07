package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/subjects"
)

// All workers share one ring. It lies in a bucket, sealed by the keyring; every change is
// a compare-and-set by a worker that could open what was there. A worker without the
// keyring can neither read nor replace it.

// The bucket is called after the queue, with keySuffix. ringName is the ring's key in it.
const (
	keySuffix = "_KEYS"
	ringName  = "ring"
	ringBytes = 1 << 20 // of the bucket, which holds a few kilobytes
)

// ringBinding cannot be that of a credential, whose ID has no blank: so neither opens in
// the other's place.
var ringBinding = seal.Binding{ID: "ring of job keys", WriteID: "1"}

// errForeignRing is wrapped by the error of a ring that this worker's keyring does not open.
var errForeignRing = errors.New("the keys that jobs are sealed to do not open with this worker's keyring")

// openRing reads the ring, or makes it where there is none, and brings it up to date.
func (s *Service) openRing(ctx context.Context) error {
	if s.config.Fleeting {
		return s.openFleeting(ctx)
	}
	name := s.config.Stream + keySuffix
	_, err := jsapi.Ensure(ctx, s.js, s.config.ringSpec())
	if err != nil {
		return s.explain(err, "KV_"+name)
	}
	bucket, err := jsapi.Ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) { return s.js.KeyValue(ctx, name) })
	if err != nil {
		return s.explain(err, "KV_"+name)
	}
	s.bucket = bucket
	return s.refreshRing(ctx)
}

// openFleeting makes a ring in memory only, since it is lost with the keyring. Where
// workers with a lasting keyring have theirs, the queue is theirs too.
func (s *Service) openFleeting(ctx context.Context) error {
	name := s.config.Stream + keySuffix
	bucket, err := s.js.KeyValue(ctx, name)
	if err == nil {
		_, err = bucket.Get(ctx, ringName)
	}
	switch {
	case err == nil:
		return fmt.Errorf("the queue %s belongs to workers that keep their keyring, and this one has it in memory only, since its store is of type memory: give it another nats.prefix and jobs.stream, or set jobs.enabled to false (bucket %s): %w",
			s.config.Stream, name, errForeignRing)
	case !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrKeyNotFound):
		return s.explain(err, "KV_"+name)
	}
	r := newRing()
	if err := r.add(primaryOf(s.config.Keyring), s.clock.now()); err != nil {
		return err
	}
	s.ring.Store(r)
	return nil
}

// refreshRing takes over what other workers did to the ring, and makes a key where the
// keyring has another primary than the current key was made under.
func (s *Service) refreshRing(ctx context.Context) error {
	if s.bucket == nil {
		return nil
	}
	r, err := updateRing(ctx, s.bucket, s.config.Keyring, func(r *ring, _ bool) (bool, error) {
		return addKey(r, s.config.Keyring, s.clock.now())
	})
	if err != nil {
		return err
	}
	s.ring.Store(r)
	return nil
}

// addKey makes a key unless the current one was made under the keyring's primary.
func addKey(r *ring, keyring manager.Keyring, now time.Time) (changed bool, err error) {
	primary := primaryOf(keyring)
	if r.upToDate(primary) {
		return false, nil
	}
	return true, r.add(primary, now)
}

// updateRing applies a change to the ring in a bucket until nobody comes in between. The
// change is told whether the keyring's primary sealed the ring, and says whether there is
// anything to write. A ring that is not there begins empty.
func updateRing(ctx context.Context, bucket jetstream.KeyValue, keyring manager.Keyring, change func(r *ring, byPrimary bool) (bool, error)) (*ring, error) {
	for {
		r, revision, byPrimary := newRing(), uint64(0), false
		there, err := bucket.Get(ctx, ringName)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return nil, err
		default:
			if r, err = readRing(bucket.Bucket(), keyring, there.Value()); err != nil {
				return nil, err
			}
			revision, byPrimary = there.Revision(), keyring.SealedByPrimary(there.Value())
		}
		if changed, err := change(r, byPrimary); err != nil || !changed {
			return r, err
		}
		plain, err := r.encode()
		if err != nil {
			return nil, err
		}
		sealed, err := keyring.Seal(plain, ringBinding)
		clear(plain)
		if err != nil {
			return nil, err
		}
		if revision == 0 {
			_, err = bucket.Create(ctx, ringName, sealed)
		} else {
			_, err = bucket.Update(ctx, ringName, sealed, revision)
		}
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !isWrongSequence(err) {
			return nil, err
		}
	}
}

func readRing(bucket string, keyring manager.Keyring, sealed []byte) (*ring, error) {
	plain, err := keyring.Open(sealed, ringBinding)
	if err != nil {
		return nil, fmt.Errorf("%w (bucket %s): give all workers the same keyring.file; or, if the keyring is lost, delete the bucket, and submit the waiting jobs again: %w", errForeignRing, bucket, err)
	}
	defer clear(plain)
	return decodeRing(plain)
}

// ResealKey has the ring sealed by the keyring's primary, so that the key which sealed it
// can be removed, and has jobs sealed to a new key from then on. It needs no Service: jobs
// that wait while no worker runs any will want their keys. There need not be a ring, and
// one that does not open has nothing to do with this keyring.
func ResealKey(ctx context.Context, conn *nats.Conn, stream string, keyring manager.Keyring) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, stream+keySuffix)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	status, err := bucket.Status(ctx)
	if err != nil {
		return unavailable(err)
	}
	now := time.Now()
	if of, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		now = of.StreamInfo().TimeStamp
	}
	_, err = updateRing(ctx, bucket, keyring, func(r *ring, byPrimary bool) (bool, error) {
		if len(r.keys) == 0 {
			return false, nil
		}
		added, err := addKey(r, keyring, now)
		return added || !byPrimary, err
	})
	if errors.Is(err, errForeignRing) {
		return nil
	}
	return unavailable(err)
}

// pruneRing removes keys that no job can be sealed to any more.
//
//	key made ── next key made ── 1 h ── keep ── max delay ──► gone, once no job and no
//	            last sealed to it ┘       └ last published     dead letter is left of it
func (s *Service) pruneRing(ctx context.Context) error {
	r := s.ring.Load()
	if s.bucket == nil || len(r.keys) < 2 || s.clock.now().Before(s.lastPosted(r.keys[1]).Add(s.config.MaxDelay)) {
		return nil
	}
	queue, err := s.queue.Info(ctx)
	if err != nil {
		return err
	}
	if first := queue.State.FirstTime; queue.State.Msgs > 0 && first.Before(s.lastPosted(r.keys[1])) {
		return nil
	}
	used, err := s.letters.sealedTo(ctx, r.keys[0].id)
	if err != nil || used {
		return err
	}
	gone := r.keys[0].id
	r, err = updateRing(ctx, s.bucket, s.config.Keyring, func(r *ring, _ bool) (bool, error) {
		if len(r.keys) < 2 || r.keys[0].id != gone {
			return false, nil
		}
		r.keys = r.keys[1:]
		return true, nil
	})
	if err != nil {
		return err
	}
	s.ring.Store(r)
	s.config.Logger.Info("a key that jobs were sealed to is removed, since no job of it is left", "key", gone)
	return nil
}

// lastPosted is when a job may have been published last that is sealed to the key before
// this one. Workers hear of a new key within seconds; an hour is for clients that are
// still sealing a large batch.
func (s *Service) lastPosted(next jobKey) time.Time { return next.made.Add(time.Hour + s.config.Keep) }

// SealKey is the key that clients seal jobs to now.
func (s *Service) SealKey() subjects.SealKeyReply {
	key := s.ring.Load().current()
	return subjects.SealKeyReply{KeyID: key.id, Key: key.Public().Bytes(), Now: s.clock.now(), MaxDelay: s.config.MaxDelay}
}
