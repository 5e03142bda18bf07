package stream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/audit"
	"credbus/internal/jsapi"
	"credbus/subjects"
)

// Config describes a Log. All fields but Logger are required.
type Config struct {
	Conn     *nats.Conn
	Prefix   subjects.Prefix
	Worker   string // the name of this run of the worker
	Stream   string
	Replicas int
	MaxBytes int64         // of the stream, which refuses more
	MaxAge   time.Duration // of a block; older ones are removed
	Logger   *slog.Logger  // default slog.Default()
}

// token stands before the name of a worker in the subject of its blocks.
const token = "audit."

// Spec describes the stream.
func (c Config) Spec() jsapi.Spec {
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:        c.Stream,
			Description: "credbus: the audit log of the workers",
			Subjects:    []string{c.Prefix.Coherence(token + "*")},
			Storage:     jetstream.FileStorage,
			Compression: jetstream.S2Compression, // MaxBytes counts what is not compressed
			Replicas:    c.Replicas,
			MaxAge:      c.MaxAge,
			MaxBytes:    c.MaxBytes,
			Discard:     jetstream.DiscardNew,
			DenyDelete:  true,
			DenyPurge:   true,
			AllowDirect: true, // for Page
		},
		Owner: string(c.Prefix), Setting: "audit.stream.name", BytesSetting: "audit.stream.max_bytes", Logger: c.Logger,
	}
}

// Log is the audit log in a stream. It is a Sink, whose methods one goroutine calls. Page may be
// called concurrently.
type Log struct {
	config  Config
	js      jetstream.JetStream
	stream  jetstream.Stream
	subject string
	last    uint64    // number of the last block of this worker in the stream
	look    time.Time // when to look again how full the stream is
}

// New returns a Log, which Open opens.
func New(config Config) *Log {
	config.Logger = cmp.Or(config.Logger, slog.Default())
	return &Log{config: config, subject: config.Prefix.Coherence(token + config.Worker)}
}

// Name is "stream".
func (l *Log) Name() string { return "stream" }

// least is how large a message the server must take: a block, and one more time a third, since a
// reply in JSON carries it in base64.
const least = 512 << 10

// Open opens or creates the stream, and begins a chain.
func (l *Log) Open(ctx context.Context) (audit.Head, error) {
	if have := l.config.Conn.MaxPayload(); have < least {
		return audit.Head{}, fmt.Errorf("the NATS server takes messages of at most %d bytes (max_payload), and a block of records needs %d: raise it, or keep the records in a file (audit.sink)", have, least)
	}
	var err error
	if l.js, err = jetstream.New(l.config.Conn); err != nil {
		return audit.Head{}, err
	}
	if l.stream, err = jsapi.Ensure(ctx, l.js, l.config.Spec()); err != nil {
		return audit.Head{}, jsapi.SetUp{
			Conn: l.config.Conn, Stream: l.config.Stream, Settings: "audit.stream, stream.replicas",
			Room: ", or lower audit.stream.max_bytes", Without: ", or set audit.sink to file",
		}.Explain(err)
	}
	return audit.NewChain(), nil
}

// patience bounds a Write, which is then repeated.
const patience = 5 * time.Second

// Write stores a block, once.
func (l *Log) Write(ctx context.Context, block []byte, _ audit.Head) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := l.publish(ctx, block)
	switch {
	case isOvertaken(err):
		err = l.adopt(ctx, block)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		err = l.remake(ctx, block)
	}
	switch {
	case err == nil:
		l.warnOfFull(ctx)
		return nil
	case jsapi.IsFull(err):
		return fmt.Errorf("stream %s is full: raise audit.stream.max_bytes, or give the server or the account more room: %w", l.config.Stream, err)
	}
	return fmt.Errorf("stream %s: %w", l.config.Stream, err)
}

// A stream that is nearly full is reported once an hour, while there is time to do something. Full
// speed fills the default stream within a minute.
const (
	nearlyFull = 80 // percent
	lookAgain  = 5 * time.Second
	warnAgain  = time.Hour
)

func (l *Log) warnOfFull(ctx context.Context) {
	if time.Now().Before(l.look) {
		return
	}
	l.look = time.Now().Add(lookAgain)
	info, err := l.stream.Info(ctx)
	if err != nil || info.Config.MaxBytes <= 0 {
		return // the next Write says what is wrong
	}
	if full := float64(info.State.Bytes) / float64(info.Config.MaxBytes) * 100; full >= nearlyFull {
		l.look = time.Now().Add(warnAgain)
		l.config.Logger.Warn("the stream of the audit log is nearly full, and takes nothing more then: raise audit.stream.max_bytes and start the workers again",
			"stream", l.config.Stream, "percent", int(full), "max_bytes", info.Config.MaxBytes)
	}
}

func (l *Log) publish(ctx context.Context, block []byte) error {
	ack, err := l.js.Publish(ctx, l.subject, block, jetstream.WithExpectLastSequencePerSubject(l.last),
		jetstream.WithExpectStream(l.config.Stream), jetstream.WithRetryAttempts(0))
	if err == nil {
		l.last = ack.Sequence
	}
	return err
}

// isOvertaken reports whether the server refused a message because another one came before it.
func isOvertaken(err error) bool {
	const ofConstant jetstream.ErrorCode = 10164
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && slices.Contains([]jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, ofConstant}, api.ErrorCode)
}

// adopt is the end of a Write that was refused, since the last block of this worker is not the one
// that it names. Perhaps an earlier Write has stored the block, and never heard of that.
func (l *Log) adopt(ctx context.Context, block []byte) error {
	msg, err := l.stream.GetLastMsgForSubject(ctx, l.subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && l.last > 0:
		// All of them were too old, or somebody made the stream anew.
		l.last = 0
		return l.publish(ctx, block)
	case err != nil:
		return err
	case msg.Sequence <= l.last:
		return errors.New("the server that was asked is behind")
	case !bytes.Equal(msg.Data, block):
		return fmt.Errorf("it has a block on %s that this worker has not written: somebody else writes there", l.subject)
	}
	l.last = msg.Sequence
	return nil
}

// remake makes the stream again after somebody has deleted it. Verify then finds that chains begin
// in their middle.
func (l *Log) remake(ctx context.Context, block []byte) error {
	stream, err := jsapi.Ensure(ctx, l.js, l.config.Spec())
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.LastSeq == 0 {
		l.config.Logger.Error("the stream of the audit log was deleted, and is made anew: find out who did that", "stream", l.config.Stream)
	}
	l.last = 0
	if err = l.publish(ctx, block); isOvertaken(err) {
		return l.adopt(ctx, block)
	}
	return err
}

// Close has nothing to do: the worker closes the connection.
func (l *Log) Close() error { return nil }
