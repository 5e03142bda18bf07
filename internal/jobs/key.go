package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/hybrid"
	"credbus/internal/jsapi"
	"credbus/internal/seal"
)

// The private key that jobs are sealed to is the same for all workers. It lies in a
// bucket, sealed by the keyring.

// keyName is its key in the bucket, keyBinding what its seal is bound to.
const keyName = "hybrid"

var keyBinding = seal.Binding{ID: "jobs", WriteID: keyName}

// openKey gets the key, or makes it where there is none.
func (s *Service) openKey(ctx context.Context) (hybrid.PrivateKey, error) {
	bucket, err := jsapi.Ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) {
		return s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      s.config.Stream + "_KEYS",
			Description: "credbus: the key that jobs are sealed to",
			Replicas:    s.config.Replicas,
		})
	})
	if err != nil {
		return hybrid.PrivateKey{}, s.explain(err, "KV_"+s.config.Stream+"_KEYS")
	}
	s.keys = bucket
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

// Reseal has the key sealed by the keyring's primary, so that the one which sealed
// it can be removed.
func (s *Service) Reseal(ctx context.Context) error {
	plain, err := s.key.Bytes()
	if err != nil {
		return err
	}
	defer clear(plain)
	for {
		there, err := s.keys.Get(ctx, keyName)
		if err != nil {
			return unavailable(err)
		}
		if s.config.Keyring.SealedByPrimary(there.Value()) {
			return nil
		}
		sealed, err := s.config.Keyring.Seal(plain, keyBinding)
		if err != nil {
			return err
		}
		if _, err = s.keys.Update(ctx, keyName, sealed, there.Revision()); !isWrongSequence(err) {
			return unavailable(err)
		}
	}
}
