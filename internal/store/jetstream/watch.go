package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
)

// watch follows the stream of the bucket. It tracks the position and the
// stream's identity itself: a client library that resumes by itself would hide
// that it missed something.
type watch struct {
	store   *Store
	changed func(store.Change)

	stood    bool
	identity time.Time // when the stream was made; a stream made again differs
	last     uint64    // the last sequence reported, or covered by All
	lost     time.Time // when it was interrupted
}

// Watch implements [store.Watcher]. After an interruption it continues by
// itself: from where it stopped if nothing can have been removed meanwhile,
// otherwise with All.
func (s *Store) Watch(ctx context.Context, changed func(store.Change)) error {
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	w := &watch{store: s, changed: changed}
	for {
		before := s.conn.LastError()
		err := w.follow(ctx)
		if ctx.Err() == nil && errors.Is(err, errInterrupted) {
			w.lost = time.Now()
			err = w.awaitConnection(ctx)
			if err == nil {
				continue
			}
		}
		if last := s.conn.LastError(); ctx.Err() == nil && last != before && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), s.streamName()) {
			return fmt.Errorf("%w: bucket %s (store.bucket) cannot be watched: %w: let the account of this worker publish to $JS.API.STREAM.INFO.%[4]s and $JS.API.CONSUMER.*.%[4]s.>",
				store.ErrPermission, s.config.Bucket, last, s.streamName())
		}
		return s.failed(ctx, "", before, err)
	}
}

// errInterrupted means that the watch worked before, and may be able to
// continue.
var errInterrupted = errors.New("the watch was interrupted")

// awaitConnection returns when there is a connection again, or none will come.
// It always waits a moment, so that the caller does not retry at once.
func (w *watch) awaitConnection(ctx context.Context) error {
	const pause = 100 * time.Millisecond
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	conn := w.store.conn
	status := conn.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer conn.RemoveStatusListener(status)
	for {
		switch {
		case conn.IsClosed():
			return nats.ErrConnectionClosed
		case conn.IsConnected():
			return nil
		}
		select {
		case <-status:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// heartbeat is how often an idle server sends a sign of life. Without it, the
// watch would wait for a consumer that is gone.
const heartbeat = time.Second

// follow reports changes until something interrupts it.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The server does not resend messages that were lost with the connection.
	conn := w.store.conn
	status := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer conn.RemoveStatusListener(status)
	go func() {
		select {
		case <-status:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	messages, err := w.open(ctx)
	if errors.Is(context.Cause(ctx), errInterrupted) && w.stood {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for delivered := uint64(1); ; delivered++ {
		msg, err := messages.Next()
		if err != nil {
			return errors.Join(errInterrupted, err)
		}
		metadata, err := msg.Metadata()
		if err != nil || metadata.Sequence.Consumer != delivered {
			return errors.Join(errInterrupted, err)
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		w.tell(msg, metadata.Sequence.Stream)
		w.last = metadata.Sequence.Stream
	}
}

// open starts to read after the last known sequence, and reports All if that is
// not enough.
func (w *watch) open(ctx context.Context) (jetstream.MessagesContext, error) {
	stream, err := w.store.js.Stream(ctx, w.store.streamName())
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	// A replaced message may be gone, since its replacement is reported. Other
	// removed messages leave a marker, unless the marker has expired, or all
	// were removed at once: then the first sequence is after the last known
	// one.
	resumes := w.stood && info.Created.Equal(w.identity) && w.last <= info.State.LastSeq && info.State.FirstSeq <= w.last &&
		(w.store.markerTTL == 0 || time.Since(w.lost) < w.store.markerTTL/2)
	last := info.State.LastSeq
	if resumes {
		last = w.last
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description:       "credbus: a worker that watches for changes",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(64), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return nil, err
	}
	w.identity, w.last, w.stood = info.Created, last, true
	if !resumes && ctx.Err() == nil {
		w.changed(store.Change{All: true})
	}
	return messages, nil
}

// tell reports the change that a message made. It skips keys that belong to no
// credential.
func (w *watch) tell(msg jetstream.Msg, seq uint64) {
	key, ok := keyOf(strings.TrimPrefix(msg.Subject(), w.store.prefix()))
	if !ok {
		return
	}
	change := store.Change{Target: key}
	switch rec := w.store.decode(key, seq, msg.Headers(), msg.Data()); {
	case rec == nil:
		change.Gone = true
	case rec.Damaged == "":
		change.Version, change.WriteID = rec.Version, rec.WriteID
	}
	w.changed(change)
}
