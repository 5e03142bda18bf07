package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/hybrid"
	"credbus/internal/jsapi"
	"credbus/internal/manager"
	"credbus/internal/seal"
)

// The private key that jobs are sealed to is the same for all workers. It lies in a
// bucket, sealed by the keyring.

// The bucket is called after the queue, with keySuffix. keyName is the key's key in
// it, keyBinding what its seal is bound to.
const (
	keySuffix = "_KEYS"
	keyName   = "hybrid"
)

var keyBinding = seal.Binding{ID: "jobs", WriteID: keyName}

// openKey gets the key, or makes it where there is none.
func (s *Service) openKey(ctx context.Context) (hybrid.PrivateKey, error) {
	bucket, err := jsapi.Ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) {
		return s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      s.config.Stream + keySuffix,
			Description: "credbus: the key that jobs are sealed to",
			Replicas:    s.config.Replicas,
		})
	})
	if err != nil {
		return hybrid.PrivateKey{}, s.explain(err, "KV_"+s.config.Stream+keySuffix)
	}
	for {
		there, err := bucket.Get(ctx, keyName)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			key, err := s.makeKey(ctx, bucket)
			if errors.Is(err, jetstream.ErrKeyExists) {
				continue // another worker was first
			}
			return key, err
		}
		if err != nil {
			return hybrid.PrivateKey{}, err
		}
		key, err := s.readKey(ctx, bucket, there)
		if err != nil && s.config.Fleeting {
			if err := bucket.Delete(ctx, keyName); err != nil {
				return key, err
			}
			continue
		}
		return key, err
	}
}

func (s *Service) makeKey(ctx context.Context, bucket jetstream.KeyValue) (hybrid.PrivateKey, error) {
	key, err := hybrid.GenerateKey()
	if err != nil {
		return key, err
	}
	plain, err := key.Bytes()
	if err != nil {
		return key, err
	}
	defer clear(plain)
	sealed, err := s.config.Keyring.Seal(plain, keyBinding)
	if err != nil {
		return key, err
	}
	_, err = bucket.Create(ctx, keyName, sealed)
	return key, err
}

func (s *Service) readKey(ctx context.Context, bucket jetstream.KeyValue, there jetstream.KeyValueEntry) (hybrid.PrivateKey, error) {
	plain, err := s.config.Keyring.Open(there.Value(), keyBinding)
	if err != nil {
		return hybrid.PrivateKey{}, fmt.Errorf("the key that jobs are sealed to (bucket %s) does not open with this worker's keyring: give all workers the same keyring.file; or, if the keyring is lost, delete the bucket, and submit anew the jobs that wait: %w", bucket.Bucket(), err)
	}
	defer clear(plain)
	return hybrid.ParsePrivateKey(plain)
}

// ResealKey has the key sealed by the keyring's primary, so that the one which
// sealed it can be removed. It needs no Service: jobs that wait while no worker runs
// any will want the key. There need not be one, and one that does not open has
// nothing to do with this keyring.
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
	for {
		there, err := bucket.Get(ctx, keyName)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return nil
		case err != nil:
			return unavailable(err)
		case keyring.SealedByPrimary(there.Value()):
			return nil
		}
		plain, err := keyring.Open(there.Value(), keyBinding)
		if err != nil {
			return nil
		}
		sealed, err := keyring.Seal(plain, keyBinding)
		clear(plain)
		if err != nil {
			return err
		}
		if _, err = bucket.Update(ctx, keyName, sealed, there.Revision()); !isWrongSequence(err) {
			return unavailable(err)
		}
	}
}
