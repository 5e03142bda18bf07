package once

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/lifecycle"
	"credbus/subjects"
)

// Window is how long after it was sent a message may act.
const Window = 30 * time.Second

const (
	// ahead is how far ahead of this worker's clock the time of a message may be. Both follow
	// the clock of the NATS servers.
	ahead = 150 * time.Millisecond
	// memory is how long the stream knows an ID: longer than a message may act.
	memory = Window + 10*time.Second
	// maxBytes bounds the stream. An ID takes about 150 bytes, so this is for 10,000 changes
	// a second.
	maxBytes = 64 << 20
	// patience bounds the search for the stream.
	patience = 5 * time.Second
)

var (
	// ErrCopy is returned for a message that has come before.
	ErrCopy = errors.New("the message has come before: one of the two is a copy")
	// ErrStale is returned for a message that was sent too long ago, or before the stream
	// was made.
	ErrStale = errors.New("the message was sent too long ago")
)

// Config says which stream to use.
type Config struct {
	Conn     *nats.Conn
	Prefix   subjects.Prefix
	Stream   string // its name
	Replicas int    // default 1
	// Volatile keeps the stream in memory. It is for a server that runs alone: a cluster makes
	// such a stream again by itself, empty, and nobody notices.
	Volatile bool
	Now      func() time.Time
}

// Messages knows the messages of the last Window. Its methods may be called concurrently.
type Messages struct {
	config  Config
	js      jetstream.JetStream
	current atomic.Pointer[incarnation]
	finding lifecycle.Turn
}

// incarnation is the stream from when it was made until it is lost.
type incarnation struct {
	subject string
	made    time.Time
}

// Open makes the stream if there is none, and waits until it accepts messages.
func Open(ctx context.Context, config Config) (*Messages, error) {
	config.Replicas = cmp.Or(config.Replicas, 1)
	js, err := jetstream.New(config.Conn)
	if err != nil {
		return nil, err
	}
	m := &Messages{config: config, js: js}
	stream, err := m.find(ctx, nil)
	if err != nil {
		return nil, jsapi.SetUp{Conn: config.Conn, Stream: config.Stream, Settings: "stream.name, stream.replicas"}.Explain(err)
	}
	timer := time.NewTimer(stream.made.Add(ahead).Sub(config.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Note notes a message, or returns ErrCopy or ErrStale. Any other error means that nobody knows
// whether it has come before.
func (m *Messages) Note(ctx context.Context, id string, sent time.Time) error {
	stream := m.current.Load()
	for {
		age := m.config.Now().Sub(sent)
		if age > Window || age < -ahead || sent.Before(stream.made.Add(ahead)) {
			return ErrStale
		}
		ack, err := m.js.Publish(ctx, stream.subject, nil, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
		switch {
		case err == nil && ack.Duplicate:
			return ErrCopy
		case err == nil:
			return nil
		case !errors.Is(err, jetstream.ErrNoStreamResponse):
			return err
		}
		if stream, err = m.findAgain(ctx, stream); err != nil {
			return err
		}
	}
}

// findAgain bounds the time of find, since a request waits for it.
func (m *Messages) findAgain(ctx context.Context, lost *incarnation) (*incarnation, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return m.find(ctx, lost)
}

// find returns the stream, after lost was found to be gone. One request at a time looks for it.
func (m *Messages) find(ctx context.Context, lost *incarnation) (found *incarnation, err error) {
	err = context.DeadlineExceeded // unless its turn comes
	m.finding.Do(ctx, func() {
		if found = m.current.Load(); found != lost {
			err = nil
			return // another request has found it
		}
		if found, err = m.look(ctx); err != nil {
			return
		}
		if lost != nil && *found == *lost {
			err = fmt.Errorf("stream %s does not answer", m.config.Stream)
			return
		}
		m.current.Store(found)
	})
	return found, err
}

// look asks for the stream, and makes it if there is none.
func (m *Messages) look(ctx context.Context) (*incarnation, error) {
	stream, err := jsapi.Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return m.js.Stream(ctx, m.config.Stream) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = m.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	own := m.config.Prefix.Coherence(token)
	if len(info.Config.Subjects) != 1 || !strings.HasPrefix(info.Config.Subjects[0], own) {
		return nil, fmt.Errorf("it is of another deployment, with subjects %v: give this one another stream.name", info.Config.Subjects)
	}
	return &incarnation{info.Config.Subjects[0], info.Created}, nil
}

// token begins what follows the prefix of the stream's subject.
const token = "once."

// create makes the stream, or returns the one that another worker has made meanwhile.
func (m *Messages) create(ctx context.Context) (jetstream.Stream, error) {
	config := jetstream.StreamConfig{
		Name:        m.config.Stream,
		Description: "credbus: IDs of sealed requests that change something: each acts once",
		Subjects:    []string{m.config.Prefix.Coherence(token + strings.ToLower(rand.Text()))},
		Replicas:    m.config.Replicas,
		MaxAge:      memory,
		Duplicates:  memory,
		MaxBytes:    maxBytes,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		DenyPurge:   true,
	}
	if m.config.Volatile {
		config.Storage = jetstream.MemoryStorage
	}
	stream, err := m.js.CreateStream(ctx, config)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return m.js.Stream(ctx, m.config.Stream)
	}
	return stream, err
}
