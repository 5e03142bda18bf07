package aws

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"credbus/internal/store"
	"credbus/subjects"
)

// Lag is how long after a write a read may return the old state. AWS gives no
// bound: "All Secrets Manager operations are eventually consistent"
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html),
// ListSecrets may be five minutes behind, the others seconds. So Lag is as long
// as a write itself may take.
const Lag = 10 * time.Second

// Store keeps credentials as secrets. It implements [store.Native],
// [store.MultiGetter] and [store.Identified], for any number of processes. It
// checks preconditions before the write, not together with it.
type Store struct {
	config      Config
	client      *secretsmanager.Client
	tokens      *sts.Client
	credentials *aws.CredentialsCache
	http        httpClient

	account      atomic.Pointer[account] // the last one that Identity found
	unidentified sync.Once               // warned that there is none

	calls *store.Calls
}

var (
	_ store.Native      = (*Store)(nil)
	_ store.MultiGetter = (*Store)(nil)

	_ store.Identified = (*Store)(nil)
)

// Native implements [store.Native].
func (s *Store) Native(subjects.Scope) bool { return s.config.Native }

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return s.get(ctx, key)
}

func (s *Store) get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	name := s.nameOf(key)
	var (
		described   *secret
		describeErr error
		asked       sync.WaitGroup
	)
	if s.config.Native { // it will be needed, so ask for both at once
		asked.Go(func() { described, describeErr = s.describe(ctx, name) })
	}
	value, err := s.value(ctx, name, "")
	asked.Wait()
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, store.ErrNotFound
	}
	if rec := sealedRecord(key, name, value); rec != nil {
		return sound(rec)
	}
	if !s.config.Native {
		// A deleted secret leaves a tombstone, which has no sealed value
		// either.
		if described, err = s.describe(ctx, name); err != nil {
			return nil, err
		}
		clear(value.binary)
		if !described.exists() {
			return nil, store.ErrNotFound
		}
		return sound(notSealed(key, name, value.version))
	}
	if describeErr != nil {
		return nil, describeErr
	}
	return s.nativeRecord(ctx, key, value, described)
}

// sound returns rec, or ErrDamaged.
func sound(rec *store.Record) (*store.Record, error) {
	if rec.Damaged != "" {
		return nil, fmt.Errorf("%w: %s", store.ErrDamaged, rec.Damaged)
	}
	return rec, nil
}

// nativeRecord joins a value and the description of its secret. If a write came
// between the two reads, it reads the value of the described version again.
func (s *Store) nativeRecord(ctx context.Context, key subjects.Target, value *value, described *secret) (*store.Record, error) {
	if !described.exists() {
		return nil, store.ErrNotFound
	}
	if value.version != described.current {
		var err error
		if value, err = s.value(ctx, described.name, described.current); err != nil {
			return nil, err
		}
		if value == nil {
			return nil, fmt.Errorf("%w: secret %s is being changed: try again", store.ErrUnavailable, described.name)
		}
		if rec := sealedRecord(key, described.name, value); rec != nil {
			return sound(rec)
		}
	}
	rec := described.record(key)
	form := described.note.Form
	if !described.noted {
		form = ""
	}
	var err error
	if rec.Data, err = value.data(form); err != nil {
		return nil, err
	}
	return rec, nil
}

// Close implements [store.Store].
func (s *Store) Close(ctx context.Context) error {
	return s.calls.Close(ctx, s.http.CloseIdleConnections)
}
