package jetstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/store"
	"credbus/subjects"
)

// markerTTL is how long the marker of a delete stays. A watch that was
// interrupted for half of that time begins anew.
const markerTTL = time.Hour

// openBucket makes the bucket, or corrects the settings of an existing one.
func (s *Store) openBucket(ctx context.Context) error {
	const patience = 5 * time.Second // a missing permission looks like silence
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before := s.conn.LastError()
	stream, err := jsapi.Ensure(ctx, s.js, s.config.Spec())
	if err != nil {
		return s.openError(before, err)
	}
	s.stream = stream
	if stream.CachedInfo().Config.AllowMsgTTL {
		s.markerTTL = markerTTL
	}
	return nil
}

// Spec describes the bucket's stream to JetStream: as nats kv add makes it for
// one revision of each key, but without direct gets and with markers that
// expire. The operator decides on space, placement and compression.
func (c Config) Spec() jsapi.Spec {
	c = c.withDefaults()
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:              streamOf(c.Bucket),
			Description:       "credbus: sealed credentials",
			Subjects:          []string{prefixOf(c.Bucket) + ">"},
			Storage:           jetstream.FileStorage,
			Replicas:          c.Replicas,
			MaxBytes:          cmp.Or(c.MaxBytes, -1),
			MaxMsgSize:        -1,
			MaxMsgs:           -1,
			MaxMsgsPerSubject: 1,                    // no earlier value is kept
			Discard:           jetstream.DiscardNew, // a full bucket refuses writes, and loses nothing
			AllowRollup:       true,
			DenyDelete:        true,
			AllowMsgTTL:       true,
		},
		Owner:        c.Owner,
		Setting:      "store.bucket",
		BytesSetting: "store.max_bytes",
		Metadata: func(context.Context) map[string]string {
			return map[string]string{identityKey: strings.ToLower(rand.Text())}
		},
		Logger: c.Logger,
	}
}

// identityKey is the metadata of the bucket's stream that holds its identity. A
// copy restored from a backup has the same identity.
const identityKey = "credbus_identity"

// Identity implements [store.Identified]. For a bucket of an earlier version,
// or one made by hand, the identity is its name and creation time.
func (s *Store) Identity(ctx context.Context) (string, error) {
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	before := s.conn.LastError()
	stream, err := s.js.Stream(ctx, s.streamName())
	if err != nil {
		return "", s.failed(ctx, "$JS.API.STREAM.INFO."+s.streamName(), before, err)
	}
	info := stream.CachedInfo()
	if identity := info.Config.Metadata[identityKey]; identity != "" {
		return "jetstream:" + identity, nil
	}
	return fmt.Sprintf("jetstream:%s:%d", s.config.Bucket, info.Created.UnixNano()), nil
}

// checkPermissions reads and writes like calls, but changes nothing: its write
// has a condition that no bucket meets. Calls report any other fault.
func (s *Store) checkPermissions(ctx context.Context) error {
	const patience = time.Second // a refused request gets no answer
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	probe := subjects.Target{Scope: "credbus:probe", ID: "probe"}
	if _, _, err := s.read(ctx, probe); errors.Is(err, store.ErrPermission) {
		return err
	}
	if _, err := s.publish(ctx, nats.NewMsg(s.subjectOf(probe)), math.MaxInt64); errors.Is(err, store.ErrPermission) {
		return fmt.Errorf("%w: bucket %s (store.bucket): let the account of this worker publish to %s>", store.ErrPermission, s.config.Bucket, s.prefix())
	}
	return nil
}

// openError says what the server or the account lacks. before is the
// connection's last error before the start.
func (s *Store) openError(before, err error) error {
	last := s.conn.LastError()
	refused := last != before && errors.Is(last, nats.ErrPermissionViolation) &&
		(strings.Contains(last.Error(), s.streamName()) || strings.Contains(last.Error(), "for Subscription to")) // for replies
	switch {
	case refused:
		return fmt.Errorf("%w: bucket %s (store.bucket): %w: allow that to the account of this worker", store.ErrPermission, s.config.Bucket, last)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("bucket %s (store.bucket): the NATS server at %s has no JetStream for this account: enable it (jetstream {} in its configuration), use another server (nats.url), or another store (store.type)",
			s.config.Bucket, s.conn.ConnectedUrlRedacted())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("bucket %s (store.bucket): JetStream did not answer in time: does the account of this worker have permission for $JS.API.> and $KV.%[1]s.>, and has the cluster a leader?", s.config.Bucket)
	default:
		return fmt.Errorf("bucket %s (store.bucket, store.replicas, store.max_bytes): %w", s.config.Bucket, err)
	}
}
