package aws

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/subjects"
)

const (
	// maxBatch is the most secrets of one BatchGetSecretValue.
	maxBatch = 20
	// requestsAtOnce are enough for subjects.MaxBatchItems in one go.
	requestsAtOnce = 10
)

// Batches implements [store.Batcher]. In native form each credential has a
// description to be asked for by itself, so nothing is gained.
func (s *Store) Batches(subjects.Scope) bool { return !s.config.Native }

// GetBatch implements [store.Batcher], with one request for 20 records.
func (s *Store) GetBatch(ctx context.Context, keys []store.Key) ([]store.Found, error) {
	for _, key := range keys {
		if err := key.Check(); err != nil {
			return nil, err
		}
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	values, err := s.values(ctx, keys)
	if err != nil {
		return nil, err
	}
	found := make([]store.Found, len(keys))
	var others []int // of what is no record
	for i, value := range values {
		if value.err != nil {
			found[i].Err = value.err
		} else if rec := sealedRecord(keys[i], s.nameOf(keys[i]), value.value); rec != nil {
			rec.Payload = slices.Clone(rec.Payload) // a key may stand here twice
			found[i].Record, found[i].Err = sound(rec)
		} else {
			value.wipe()
			others = append(others, i)
		}
	}
	eachAtOnce(len(others), func(i int) {
		found := &found[others[i]]
		found.Record, found.Err = s.get(ctx, keys[others[i]])
	})
	return found, nil
}

// eachAtOnce calls do for 0 to n-1, several at once.
func eachAtOnce(n int, do func(i int)) {
	var calls sync.WaitGroup
	turns := make(chan struct{}, requestsAtOnce)
	for i := range n {
		turns <- struct{}{}
		calls.Go(func() {
			defer func() { <-turns }()
			do(i)
		})
	}
	calls.Wait()
}

// foundValue is one of a batch: a value, or the reason why there is none.
type foundValue struct {
	*value
	err error
}

// wipe overwrites what may be a value in clear. Of a string nothing can be.
func (f foundValue) wipe() { clear(f.binary) }

// values reads the current values of keys, in their order. err is that of a
// request that failed as a whole.
func (s *Store) values(ctx context.Context, keys []store.Key) ([]foundValue, error) {
	ctx, cancel := context.WithCancel(ctx) // the first failure ends the others
	defer cancel()
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.nameOf(key)
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(names)))
	var (
		mu     sync.Mutex
		failed error
		byName = make(map[string]foundValue, len(distinct))
	)
	batches := slices.Collect(slices.Chunk(distinct, maxBatch))
	eachAtOnce(len(batches), func(i int) {
		err := s.batch(ctx, batches[i], func(name string, v foundValue) {
			mu.Lock()
			defer mu.Unlock()
			byName[name] = v
		})
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		cancel()
	})
	if failed != nil {
		return nil, failed
	}
	found := make([]foundValue, len(keys))
	for i, name := range names {
		var ok bool
		if found[i], ok = byName[name]; !ok {
			found[i].err = fmt.Errorf("%w: secretsmanager:BatchGetSecretValue: no answer for %s", store.ErrUnavailable, name)
		}
	}
	return found, nil
}

// batch asks for at most maxBatch secrets, which may take several answers.
func (s *Store) batch(ctx context.Context, names []string, found func(name string, v foundValue)) error {
	input := &secretsmanager.BatchGetSecretValueInput{SecretIdList: names}
	for {
		out, err := s.client.BatchGetSecretValue(ctx, input)
		if err != nil {
			return s.failed(ctx, "secretsmanager:BatchGetSecretValue", err)
		}
		if out.SecretValues == nil && out.Errors == nil && out.NextToken == nil {
			return errIncomplete("secretsmanager:BatchGetSecretValue")
		}
		for _, entry := range out.SecretValues {
			found(valueOf(entry.Name), foundValue{value: &value{content{entry.SecretString, entry.SecretBinary}, valueOf(entry.ARN), valueOf(entry.VersionId)}})
		}
		for _, entry := range out.Errors {
			found(valueOf(entry.SecretId), foundValue{err: s.itemError(entry)})
		}
		if valueOf(out.NextToken) == "" {
			return nil
		}
		input.NextToken = out.NextToken
	}
}

// itemError is why a batch does not have one of its secrets.
func (s *Store) itemError(entry types.APIErrorType) error {
	code, message := valueOf(entry.ErrorCode), valueOf(entry.Message)
	invalid := &types.InvalidRequestException{Message: &message}
	if code == (*types.ResourceNotFoundException)(nil).ErrorCode() || code == invalid.ErrorCode() && isScheduled(invalid) {
		return store.ErrNotFound
	}
	return s.answered("secretsmanager:GetSecretValue", code, message, 0)
}
