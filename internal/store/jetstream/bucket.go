package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/store"
)

// markerTTL is how long the marker of a delete stays. A watch that was
// interrupted for half of it begins anew.
const markerTTL = time.Hour

// openBucket makes the bucket, or brings one that is there in order.
func (s *Store) openBucket(ctx context.Context) error {
	before := s.conn.LastError()
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
			return s.openError(before, err)
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

// checkPermissions reads and writes as calls do, and leaves nothing: the write is
// on a condition that no bucket fulfils. What else is wrong is for calls to tell.
func (s *Store) checkPermissions(ctx context.Context) error {
	const patience = time.Second // a refusal is no answer
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	probe := store.Key{Scope: "credbus:probe", ID: "probe"}
	if _, _, err := s.read(ctx, probe); errors.Is(err, store.ErrPermission) {
		return err
	}
	if _, err := s.publish(ctx, nats.NewMsg(s.subjectOf(probe)), math.MaxInt64); errors.Is(err, store.ErrPermission) {
		return fmt.Errorf("%w: bucket %s (store.bucket): let the account of this worker publish to %s>", store.ErrPermission, s.config.Bucket, s.prefix())
	}
	return nil
}

// openError says what the server or the account lacks. before is the connection's
// last error from before.
func (s *Store) openError(before, err error) error {
	last := s.conn.LastError()
	refused := last != before && errors.Is(last, nats.ErrPermissionViolation) &&
		(strings.Contains(last.Error(), s.streamName()) || strings.Contains(last.Error(), "for Subscription to")) // of replies
	switch {
	case refused:
		return fmt.Errorf("%w: bucket %s (store.bucket): %w: allow that to the account of this worker", store.ErrPermission, s.config.Bucket, last)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("bucket %s (store.bucket): the NATS server at %s has no JetStream for this account: enable it (jetstream {} in its configuration), use another server (nats.url), or another store (store.type)",
			s.config.Bucket, s.conn.ConnectedUrlRedacted())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("bucket %s (store.bucket): JetStream did not answer in time: does the account of this worker have permission for $JS.API.> and $KV.%[1]s.>, and has the cluster a leader?", s.config.Bucket)
	default:
		return fmt.Errorf("bucket %s (store.bucket, store.replicas): %w", s.config.Bucket, err)
	}
}
