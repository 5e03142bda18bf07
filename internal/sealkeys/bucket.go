package sealkeys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/seal"
	"credbus/subjects"
)

// The ring is in a bucket, sealed by the keyring. Every change is a
// compare-and-set by a worker that could open the previous ring. A worker
// without the keyring can neither read nor replace it.

// The name of the bucket is that of the queue with keySuffix. ringName is the
// ring's key in it.
const (
	keySuffix = "_KEYS"
	ringName  = "ring"
	ringBytes = 1 << 20 // of the bucket, which holds a few kilobytes
)

// ringBinding has a blank in its ID, which no credential can have. So neither a
// credential opens as the ring, nor the ring as a credential.
var ringBinding = seal.Binding{ID: "ring of job keys", WriteID: "1"}

// ErrForeign is wrapped by the error if this worker's keyring does not open the
// ring.
var ErrForeign = errors.New("the keys that jobs are sealed to do not open with this worker's keyring")

func (c Config) bucket() string { return c.Stream + keySuffix }

// Spec describes the stream of the ring's bucket, with the settings that NATS
// gives to a bucket.
func Spec(config Config) jsapi.Spec {
	bucket := config.bucket()
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:              "KV_" + bucket,
			Description:       "credbus: the keys that jobs are sealed to",
			Subjects:          []string{"$KV." + bucket + ".>"},
			MaxMsgsPerSubject: 1,
			MaxBytes:          ringBytes,
			Discard:           jetstream.DiscardNew,
			Storage:           jetstream.FileStorage,
			Replicas:          config.Replicas,
			AllowRollup:       true,
			DenyDelete:        true,
			AllowDirect:       true,
		},
		Owner: string(config.Prefix), Setting: "jobs.stream", Logger: config.Logger,
	}
}

// explain adds what to do when the bucket cannot be made or opened.
func (k *Keys) explain(err error) error {
	return jsapi.SetUp{Conn: k.config.Conn, Stream: "KV_" + k.config.bucket(), Settings: "jobs.stream, stream.replicas"}.Explain(err)
}

// updateRing applies a change to the ring in a bucket, and repeats that until
// no one else changes the ring in between. The change gets whether the
// keyring's primary sealed the ring, and returns whether there is anything to
// write. A missing ring begins empty.
func updateRing(ctx context.Context, bucket jetstream.KeyValue, keyring Keyring, change func(r *ring, byPrimary bool) (bool, error)) (*ring, error) {
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
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return nil, err
		}
	}
}

func readRing(bucket string, keyring Keyring, sealed []byte) (*ring, error) {
	plain, err := keyring.Open(sealed, ringBinding)
	if err != nil {
		return nil, fmt.Errorf("%w (bucket %s): give all workers the same keyring.file; or, if the keyring is lost, delete the bucket, and submit the waiting jobs again: %w", ErrForeign, bucket, err)
	}
	defer clear(plain)
	return decodeRing(plain)
}

// Reseal seals the ring by the keyring's primary, so that the key which sealed
// it can be removed. From then on, clients seal to a new key. It does nothing
// if there is no ring, or one that does not open, which has nothing to do with
// this keyring.
func Reseal(ctx context.Context, conn *nats.Conn, stream string, keyring Keyring) error {
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
		added, err := r.addKey(keyring, now)
		return added || !byPrimary, err
	})
	if err == nil || errors.Is(err, ErrForeign) {
		return nil
	}
	return unavailable(err)
}

// unavailable turns an error of JetStream into the one that the caller sees.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return subjects.Errorf(subjects.StorageTimeout, "the bucket of keys did not answer in time: try again later")
	}
	return subjects.Errorf(subjects.StorageUnavailable, "the bucket of keys cannot be reached: try again later")
}
