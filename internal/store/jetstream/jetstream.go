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
)

// DefaultBucket is the bucket of a Config that names none.
const DefaultBucket = "CREDBUS_CREDENTIALS"

// Config says which bucket.
type Config struct {
	Bucket string // default DefaultBucket
	// Replicas is how many servers of a cluster keep the bucket: 1, 3 or 5;
	// default 1. A bucket that has more of them keeps them.
	Replicas int
	// MaxBytes bounds the bucket; zero: none but those of the account and the disk. A
	// bucket that may have more keeps that.
	MaxBytes int64
	// Owner is the prefix of the deployment that the bucket belongs to. A bucket of
	// another one is refused; empty: any bucket is taken.
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
	stream jetstream.Stream // of the bucket; its info is that of the start
	// markerTTL is how long the marker of a delete stays; 0 for ever.
	markerTTL time.Duration

	walks store.Walks[[]store.Key]
	calls *store.Calls
}

var (
	_ store.Watcher    = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
)

// New opens the bucket over conn, which stays the caller's. It makes the
// bucket when it is missing, and changes its settings where they would let
// credentials expire, be pushed out, or be read from a copy that is behind.
// The error says what to change.
func New(ctx context.Context, conn *nats.Conn, config Config) (*Store, error) {
	config = config.withDefaults()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, conn: conn, js: js, calls: store.NewCalls()}
	if err = s.openBucket(ctx); err == nil {
		err = s.checkPermissions(ctx)
	}
	if err != nil {
		s.calls.Close()
		return nil, err
	}
	return s, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key store.Key) (*store.Record, error) {
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
	if err := rec.Key.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	for {
		current, last, err := s.read(ctx, rec.Key)
		if err != nil {
			return "", err
		}
		sound := current != nil && current.Damaged == ""
		if sound && current.WriteID == rec.WriteID {
			return pre.Repeated(current)
		}
		if err := pre.Check(current); err != nil {
			return "", err
		}
		next := *rec
		next.Version = unknownVersion
		if sound {
			next.Created = current.Created
		}
		msg := nats.NewMsg(s.subjectOf(rec.Key))
		if msg.Data, err = record.Encode(&next); err != nil {
			return "", err
		}
		seq, err := s.publish(caller, msg, last)
		if err == nil {
			return formatVersion(seq), nil
		}
		if !errors.Is(err, errOvertaken) {
			return "", err
		}
	}
}

// unknownVersion stands in a record for its version, which is known only when
// the record is in the stream.
const unknownVersion = "-"

func formatVersion(seq uint64) string { return strconv.FormatUint(seq, 10) }

// Headers by which JetStream and its other clients know the marker of a delete.
const (
	operationHeader = "KV-Operation"
	purgeOperation  = "PURGE"
	rollupHeader    = "Nats-Rollup"
	rollupSubject   = "sub"
	markerHeader    = "Nats-Marker-Reason" // of a marker that the server made
)

// Delete implements [store.Store].
func (s *Store) Delete(caller context.Context, key store.Key, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	for {
		current, last, err := s.read(ctx, key)
		if err != nil {
			return err
		}
		if err := pre.Check(current); err != nil {
			return err
		}
		if current == nil {
			return store.ErrNotFound
		}
		msg := nats.NewMsg(s.subjectOf(key))
		msg.Header.Set(operationHeader, purgeOperation)
		msg.Header.Set(rollupHeader, rollupSubject)
		var options []jetstream.PublishOpt
		if s.markerTTL > 0 {
			options = append(options, jetstream.WithMsgTTL(s.markerTTL))
		}
		if _, err = s.publish(caller, msg, last, options...); !errors.Is(err, errOvertaken) {
			return err
		}
	}
}

// Close implements [store.Store]. Calls under way give up, a Watch too, unless
// they wait for the answer to a write; it waits until all have returned. The
// connection stays open.
func (s *Store) Close() error {
	s.calls.Close()
	s.walks.Close()
	return nil
}

// errOvertaken: the last message of the key is another than the one expected.
var errOvertaken = errors.New("another write was faster")

// publish appends msg if last is still the last sequence of its subject, where
// 0 means that there is none. Otherwise it returns errOvertaken.
func (s *Store) publish(ctx context.Context, msg *nats.Msg, last uint64, options ...jetstream.PublishOpt) (seq uint64, err error) {
	before := s.conn.LastError()
	ack, err := s.js.PublishMsg(ctx, msg, append(options,
		jetstream.WithExpectStream(s.streamName()),
		jetstream.WithExpectLastSequencePerSubject(last),
		jetstream.WithRetryAttempts(0), // retries belong to the caller
	)...)
	if code := codeOf(err); code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		return 0, errOvertaken
	}
	if err != nil {
		return 0, s.failed(ctx, msg.Subject, before, err)
	}
	return ack.Sequence, nil
}

// read asks the leader for the last message of key. rec is nil when there is
// no record, and has its reason in Damaged when it cannot be read. last is the
// sequence of what is there, which may be a marker.
func (s *Store) read(ctx context.Context, key store.Key) (rec *store.Record, last uint64, err error) {
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

// decode is the record that a message holds, nil when it is a marker.
func (s *Store) decode(key store.Key, seq uint64, header nats.Header, data []byte) *store.Record {
	if isMarker(header) {
		return nil
	}
	damaged := func(reason string) *store.Record {
		return &store.Record{Key: key, Damaged: fmt.Sprintf("key %s of bucket %s, revision %d: %s", nameOf(key), s.config.Bucket, seq, reason)}
	}
	rec, err := record.Decode(data)
	if err != nil {
		return damaged(err.Error())
	}
	if rec.Key != key {
		return damaged("it holds " + rec.Key.String() + ", whose place is another")
	}
	rec.Version = formatVersion(seq)
	return rec
}

func isMarker(header nats.Header) bool {
	return slices.Contains([]string{"DEL", purgeOperation}, header.Get(operationHeader)) || header.Get(markerHeader) != ""
}
