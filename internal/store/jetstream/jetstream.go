package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// DefaultBucket is the bucket of a Config that names none.
const DefaultBucket = "CREDBUS_CREDENTIALS"

// Config describes the bucket.
type Config struct {
	Bucket string // default DefaultBucket
	// Replicas is how many servers of a cluster keep the bucket: 1, 3 or 5;
	// default 1. A bucket that has more keeps them.
	Replicas int
	// MaxBytes bounds the bucket; with zero, only the account and the disk
	// bound it. A bucket with a higher limit keeps it.
	MaxBytes int64
	// Owner is the prefix of the deployment that the bucket belongs to. New
	// refuses a bucket of another deployment. If empty, it takes any.
	Owner  string
	Logger *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	c.Bucket = cmp.Or(c.Bucket, DefaultBucket)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Store keeps records in a bucket. It implements [store.Watcher], for any
// number of processes.
type Store struct {
	config Config
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream // of the bucket; its cached info is from the start
	// markerTTL is how long the marker of a delete stays; 0 means for ever.
	markerTTL time.Duration

	walks store.Walks[[]subjects.Target]
	calls *store.Calls
}

var (
	_ store.Watcher    = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
)

// New opens the bucket over conn, which the caller must close. It makes a
// missing bucket. It changes settings that would let credentials expire, be
// pushed out, or be read from a copy that is behind. The error says what to
// change.
func New(ctx context.Context, conn *nats.Conn, config Config) (*Store, error) {
	config = config.withDefaults()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, conn: conn, js: js, calls: store.NewCalls()}
	if err := s.openBucket(ctx); err != nil {
		return nil, err
	}
	if err := s.checkPermissions(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

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
	rec, _, err := s.read(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case rec == nil:
		return nil, store.ErrNotFound
	case rec.Damaged != "":
		return nil, fmt.Errorf("%w: %s", store.ErrDamaged, rec.Damaged)
	}
	return rec, nil
}

// Put implements [store.Store].
func (s *Store) Put(caller context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Target.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	read := func() (*store.Record, uint64, error) { return s.read(ctx, rec.Target) }
	return store.Replace(rec, pre, read, func(next *store.Record, last uint64) (string, error) {
		next.Version = unknownVersion
		msg := nats.NewMsg(s.subjectOf(rec.Target))
		var err error
		if msg.Data, err = record.Encode(next); err != nil {
			return "", err
		}
		seq, err := s.publish(caller, msg, last)
		if err != nil {
			return "", err
		}
		return formatVersion(seq), nil
	})
}

// unknownVersion stands in a record for its version, which is only known once
// the record is in the stream.
const unknownVersion = "-"

func formatVersion(seq uint64) string { return strconv.FormatUint(seq, 10) }

// Headers by which JetStream and its other clients recognise the marker of a
// delete.
const (
	operationHeader = "KV-Operation"
	purgeOperation  = "PURGE"
	rollupHeader    = "Nats-Rollup"
	rollupSubject   = "sub"
	markerHeader    = "Nats-Marker-Reason" // of a marker that the server made
)

// Delete implements [store.Store].
func (s *Store) Delete(caller context.Context, key subjects.Target, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	read := func() (*store.Record, uint64, error) { return s.read(ctx, key) }
	return store.Remove(pre, read, func(last uint64) error {
		msg := nats.NewMsg(s.subjectOf(key))
		msg.Header.Set(operationHeader, purgeOperation)
		msg.Header.Set(rollupHeader, rollupSubject)
		var options []jetstream.PublishOpt
		if s.markerTTL > 0 {
			options = append(options, jetstream.WithMsgTTL(s.markerTTL))
		}
		_, err := s.publish(caller, msg, last, options...)
		return err
	})
}

// Close implements [store.Store]. The connection stays open.
func (s *Store) Close(ctx context.Context) error { return s.calls.Close(ctx, s.walks.Close) }

// publish appends msg if last is still the last sequence of its subject, where
// 0 means that there is none. Otherwise it returns store.ErrOvertaken.
func (s *Store) publish(ctx context.Context, msg *nats.Msg, last uint64, options ...jetstream.PublishOpt) (seq uint64, err error) {
	before := s.conn.LastError()
	ack, err := s.js.PublishMsg(ctx, msg, append(options,
		jetstream.WithExpectStream(s.streamName()),
		jetstream.WithExpectLastSequencePerSubject(last),
		jetstream.WithRetryAttempts(0), // retries belong to the caller
	)...)
	if code := codeOf(err); code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		return 0, store.ErrOvertaken
	}
	if err != nil {
		return 0, s.failed(ctx, msg.Subject, before, err)
	}
	return ack.Sequence, nil
}

// read asks the leader for the last message of key. rec is nil if there is no
// record; if it is unreadable, Damaged says why. last is the sequence of the
// message, which may be a marker.
func (s *Store) read(ctx context.Context, key subjects.Target) (rec *store.Record, last uint64, err error) {
	before := s.conn.LastError()
	msg, err := s.stream.GetLastMsgForSubject(ctx, s.subjectOf(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, s.failed(ctx, "$JS.API.STREAM.MSG.GET."+s.streamName(), before, err)
	}
	return s.decode(key, msg.Sequence, msg.Header, msg.Data), msg.Sequence, nil
}

// decode returns the record in a message, or nil for a marker.
func (s *Store) decode(key subjects.Target, seq uint64, header nats.Header, data []byte) *store.Record {
	if isMarker(header) {
		return nil
	}
	damaged := func(reason string) *store.Record {
		return &store.Record{Target: key, Damaged: fmt.Sprintf("key %s of bucket %s, revision %d: %s", nameOf(key), s.config.Bucket, seq, reason)}
	}
	rec, err := record.Decode(data)
	if err != nil {
		return damaged(err.Error())
	}
	if rec.Target != key {
		return damaged("it holds " + rec.Target.String() + ", which belongs to another key")
	}
	rec.Version = formatVersion(seq)
	return rec
}

func isMarker(header nats.Header) bool {
	return slices.Contains([]string{"DEL", purgeOperation}, header.Get(operationHeader)) || header.Get(markerHeader) != ""
}
