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

// watch follows the stream of the bucket. It sees to positions and to the
// stream's identity itself: a client library that resumes on its own account
// would hide that something was missed.
type watch struct {
	store   *Store
	changed func(store.Change)

	stood    bool
	identity time.Time // when the stream was made: one made anew is another
	last     uint64    // the last sequence that was told, or that All covers
	lost     time.Time // when it was interrupted
}

// Watch implements [store.Watcher]. It goes on after an interruption by
// itself, where it left off if nothing can have been removed meanwhile, and
// with All otherwise.
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

// errInterrupted: the watch stood, and may be able to go on.
var errInterrupted = errors.New("the watch was interrupted")

// awaitConnection returns when there is a connection again, or none will come.
// It takes a moment at least, so that what fails at once is not tried at once.
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

// heartbeat is how often the server speaks up when it has nothing to tell.
// Without it, a consumer that is gone would be waited for.
const heartbeat = time.Second

// follow tells what happens until something interrupts it.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// What was sent and got lost with the connection is not sent again.
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

// open starts to read after the last sequence that is known of, and tells All
// if that is not enough.
func (w *watch) open(ctx context.Context) (jetstream.MessagesContext, error) {
	stream, err := w.store.js.Stream(ctx, w.store.streamName())
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	// A replaced message may go, since the one that replaced it is told. What
	// else goes leaves a marker, unless the marker's time is up, or all went
	// at once: then the first sequence is past the last one known.
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

// tell tells what a message did. Keys that are no credential's are passed over.
func (w *watch) tell(msg jetstream.Msg, seq uint64) {
	key, ok := keyOf(strings.TrimPrefix(msg.Subject(), w.store.prefix()))
	if !ok {
		return
	}
	change := store.Change{Key: key}
	switch rec := w.store.decode(key, seq, msg.Headers(), msg.Data()); {
	case rec == nil:
		change.Gone = true
	case rec.Damaged == "":
		change.Version, change.WriteID = rec.Version, rec.WriteID
	}
	w.changed(change)
}
