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
	// maxBatch is the most secrets in one BatchGetSecretValue.
	maxBatch = 20
	// requestsAtOnce is enough to read subjects.MaxBatchItems at once.
	requestsAtOnce = 10
)

// GetsMulti implements [store.MultiGetter]. In native form it is false: each
// description needs a request of its own, so a batch saves nothing.
func (s *Store) GetsMulti(subjects.Scope) bool { return !s.config.Native }

// GetMulti implements [store.MultiGetter], with one request for 20 records.
func (s *Store) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
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
	var others []int // indices of values that are not records
	for i, value := range values {
		if value.err != nil {
			found[i].Err = value.err
		} else if rec := sealedRecord(keys[i], s.nameOf(keys[i]), value.value); rec != nil {
			rec.Payload = slices.Clone(rec.Payload) // keys may contain a key twice
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

// eachAtOnce calls do for 0 to n-1, several at a time.
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

// foundValue is one result of a batch: a value, or the reason why there is
// none.
type foundValue struct {
	*value
	err error
}

// wipe overwrites bytes that may hold a value in clear. It cannot overwrite
// strings.
func (f foundValue) wipe() { clear(f.binary) }

// values reads the current values of keys, in their order. err is set if a
// request failed as a whole.
func (s *Store) values(ctx context.Context, keys []subjects.Target) ([]foundValue, error) {
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

// batch reads at most maxBatch secrets, which may take several answers.
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

// itemError returns the error of one secret of a batch.
func (s *Store) itemError(entry types.APIErrorType) error {
	code, message := valueOf(entry.ErrorCode), valueOf(entry.Message)
	invalid := &types.InvalidRequestException{Message: &message}
	if code == (*types.ResourceNotFoundException)(nil).ErrorCode() || code == invalid.ErrorCode() && isScheduled(invalid) {
		return store.ErrNotFound
	}
	return s.answered("secretsmanager:GetSecretValue", code, message, 0)
}
