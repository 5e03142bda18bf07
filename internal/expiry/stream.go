package expiry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// StreamConfig describes the JetStream stream that holds the marks.
type StreamConfig struct {
	Name     string          // required
	Prefix   subjects.Prefix // required
	Worker   string          // required: names this worker in claims
	Replicas int             // 1, 3 or 5; default 1
	MaxBytes int64           // default 256 MiB
	Logger   *slog.Logger    // default slog.Default()
}

// markTTL is how long a mark stays after the last sweep has looked at it, because its
// credential is gone or was replaced. A mark that sweeps still look at is written again
// before that, once it is refreshAge old.
const (
	markTTL    = 90 * 24 * time.Hour
	refreshAge = markTTL / 3
)

// Stream is Marks over a JetStream stream.
type Stream struct {
	config StreamConfig
	js     jetstream.JetStream
	opened atomic.Pointer[jetstream.Stream] // by the last Claim
}

var _ Marks = (*Stream)(nil)

func (c StreamConfig) withDefaults() StreamConfig {
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<20)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Spec describes the stream to JetStream.
func (c StreamConfig) Spec() jsapi.Spec {
	c = c.withDefaults()
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:              c.Name,
			Description:       "credbus: what was told of credentials that expire",
			Subjects:          []string{c.Prefix.Coherence(markWord + ">")},
			Retention:         jetstream.LimitsPolicy,
			Storage:           jetstream.FileStorage,
			Replicas:          c.Replicas,
			MaxMsgsPerSubject: 1,
			MaxBytes:          c.MaxBytes,
			// If a mark were evicted, its event would be told again, and evict another mark.
			Discard:     jetstream.DiscardNew,
			AllowMsgTTL: true,
		},
		Owner:   string(c.Prefix),
		Setting: "stream.name", BytesSetting: "stream.max_bytes",
		Logger: c.Logger,
	}
}

// NewStream returns a stream that the first Claim opens. A worker without permission
// to create the stream can still serve requests.
func NewStream(nc *nats.Conn, config StreamConfig) (*Stream, error) {
	config = config.withDefaults()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &Stream{config: config, js: js}, nil
}

// open finds the stream, or creates it if it is missing.
func (s *Stream) open(ctx context.Context) (jetstream.Stream, error) {
	if s.opened.Load() != nil {
		stream, err := s.js.Stream(ctx, s.config.Name)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return stream, s.failed(err)
		}
		s.config.Logger.Warn("the stream of expiry marks is gone; creating it anew: events of expiry are published again", "stream", s.config.Name)
	}
	stream, err := jsapi.Ensure(ctx, s.js, s.config.Spec())
	if err != nil {
		return nil, s.failed(err)
	}
	s.opened.Store(&stream)
	return stream, nil
}

// failed names the stream, and the settings to check.
func (s *Stream) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stream %s of expiry marks (check stream.replicas, stream.max_bytes, the account's permissions and limits): %w", s.config.Name, err)
}

// Claim implements Marks. It compares two times, both from the server's clock.
func (s *Stream) Claim(ctx context.Context, every time.Duration) (wait time.Duration, err error) {
	stream, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	msg := nats.NewMsg(s.config.Prefix.Coherence(claimWord))
	msg.Data = []byte(s.config.Worker)
	var place uint64
	last, err := stream.GetLastMsgForSubject(ctx, msg.Subject)
	switch {
	case err == nil:
		if wait := every - stream.CachedInfo().TimeStamp.Sub(last.Time); wait > 0 {
			return min(wait, every), nil
		}
		place = last.Sequence
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, s.failed(err)
	}
	if place, err = s.publish(ctx, msg, place); err == nil && place == 0 {
		return every, nil
	}
	return 0, err
}

// publish appends msg if the last message of its subject still stands at place (zero:
// there is none), and returns the place of msg. It returns zero if not.
func (s *Stream) publish(ctx context.Context, msg *nats.Msg, place uint64, options ...jetstream.PublishOpt) (uint64, error) {
	ack, err := s.js.PublishMsg(ctx, msg, append(options,
		jetstream.WithExpectStream(s.config.Name), jetstream.WithExpectLastSequencePerSubject(place))...)
	if refused := new(jetstream.APIError); errors.As(err, &refused) {
		switch refused.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return 0, nil
		}
	}
	if err != nil {
		return 0, s.failed(err)
	}
	return ack.Sequence, nil
}

var errUnclaimed = errors.New("no sweep was claimed yet")

// Get implements Marks.
func (s *Stream) Get(ctx context.Context, key subjects.Target) (Mark, error) {
	opened := s.opened.Load()
	if opened == nil {
		return Mark{}, errUnclaimed
	}
	msg, err := (*opened).GetLastMsgForSubject(ctx, markSubject(s.config.Prefix, key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Mark{}, nil
	case err != nil:
		return Mark{}, s.failed(err)
	}
	mark, err := parseMark(msg.Header, msg.Data)
	if err != nil {
		s.config.Logger.Warn("the expiry mark of a credential cannot be read; its event is published again", "scope", key.Scope, "id", key.ID, "error", err)
	}
	mark.Place, mark.Put = msg.Sequence, msg.Time
	return mark, nil
}

// Put implements Marks.
func (s *Stream) Put(ctx context.Context, key subjects.Target, mark *Mark) (uint64, error) {
	return s.publish(ctx, mark.message(markSubject(s.config.Prefix, key)), mark.Place, jetstream.WithMsgTTL(markTTL))
}
