package jetstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
)

// markerTTL is how long the marker of a delete stays. A watch that was
// interrupted for half of it begins anew.
const markerTTL = time.Hour

// openBucket makes the bucket, or brings one that is there in order.
func (s *Store) openBucket(ctx context.Context) error {
	for {
		stream, err := s.js.Stream(ctx, s.streamName())
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			stream, err = jsapi.Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return s.js.CreateStream(ctx, s.newStream()) })
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another worker was faster, with other settings
			}
		case err == nil:
			stream, err = s.mend(ctx, stream)
		}
		if err != nil {
			return s.openError(err)
		}
		config := stream.CachedInfo().Config
		if config.AllowDirect {
			return fmt.Errorf("bucket %s (store.bucket): the server keeps direct gets turned on, which read copies that may be behind: turn them off, or choose another bucket", s.config.Bucket)
		}
		s.stream = stream
		if config.AllowMsgTTL {
			s.markerTTL = markerTTL
		}
		return nil
	}
}

// newStream is what nats kv add makes, for one revision of each key, without
// direct gets and with markers that go by themselves.
func (s *Store) newStream() jetstream.StreamConfig {
	return s.mended(jetstream.StreamConfig{
		Name:        s.streamName(),
		Description: "credbus: sealed credentials",
		Subjects:    []string{s.prefix() + ">"},
		Storage:     jetstream.FileStorage,
		MaxBytes:    -1,
		MaxMsgSize:  -1,
	})
}

// mended is found with the settings that a store must have. Limits of space,
// placement and compression are the operator's.
func (s *Store) mended(found jetstream.StreamConfig) jetstream.StreamConfig {
	want := found
	want.MaxMsgsPerSubject = 1 // no earlier value is kept
	want.MaxMsgs = -1
	want.MaxAge = 0                     // credentials do not expire with the stream
	want.Discard = jetstream.DiscardNew // a full bucket refuses writes, and loses nothing
	want.Replicas = max(found.Replicas, s.config.Replicas)
	want.AllowRollup = true
	want.DenyDelete = true
	want.AllowDirect = false
	want.AllowMsgTTL = true
	return want
}

func (s *Store) mend(ctx context.Context, stream jetstream.Stream) (jetstream.Stream, error) {
	found := stream.CachedInfo().Config
	switch {
	case found.Mirror != nil || len(found.Sources) > 0:
		return nil, fmt.Errorf("it is a copy of another: choose one of its own")
	case found.Storage != jetstream.FileStorage:
		return nil, fmt.Errorf("it is kept in memory, and lost when its servers restart: choose one that is kept in files")
	case !slices.Equal(found.Subjects, []string{s.prefix() + ">"}):
		return nil, fmt.Errorf("it has other subjects than a bucket has: choose another name")
	}
	want := s.mended(found)
	if reflect.DeepEqual(found, want) {
		return stream, nil
	}
	stream, err := s.js.UpdateStream(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("its settings cannot be changed to one revision for each key, no age limit, no direct gets and %d replicas: %w", want.Replicas, err)
	}
	return stream, nil
}

// openError says what the server lacks.
func (s *Store) openError(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("bucket %s (store.bucket): the NATS server at %s has no JetStream for this account: enable it (jetstream {} in its configuration), use another server (nats.url), or another store (store.type)",
			s.config.Bucket, s.conn.ConnectedUrlRedacted())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("bucket %s (store.bucket): JetStream did not answer in time: does the account of this worker have permission for $JS.API.> and $KV.%[1]s.>, and has the cluster a leader?", s.config.Bucket)
	default:
		return fmt.Errorf("bucket %s (store.bucket, store.replicas): %w", s.config.Bucket, err)
	}
}
