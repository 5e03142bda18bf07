package coherence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// StreamConfig describes the JetStream stream that orders the changes.
type StreamConfig struct {
	Name     string          // required
	Prefix   subjects.Prefix // required
	Replicas int             // 1, 3 or 5; default 1
	MaxAge   time.Duration   // default 24 h; at least Window
	MaxBytes int64           // default 256 MiB
	// Window is how far back a replica looks for intents when it starts:
	// Config.Hold of the replicas. Default 10 s.
	Window time.Duration
	Logger *slog.Logger // default slog.Default()
}

// logToken keeps the log apart from what replicas tell each other in passing.
const logToken = "log."

// Stream is a Log over a JetStream stream.
type Stream struct {
	config StreamConfig
	nc     *nats.Conn
	js     jetstream.JetStream

	identity atomic.Uint64 // of the stream that is followed
	last     uint64        // the last sequence applied; Follow's alone
}

// OpenStream creates the stream where it is missing and brings its settings up
// to date. Its errors say what the server lacks.
func OpenStream(ctx context.Context, nc *nats.Conn, config StreamConfig) (*Stream, error) {
	if config.Replicas == 0 {
		config.Replicas = 1
	}
	if config.MaxAge == 0 {
		config.MaxAge = 24 * time.Hour
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = 256 << 20
	}
	if config.Window == 0 {
		config.Window = 10 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := &Stream{config: config, nc: nc, js: js}
	_, err = s.create(ctx)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("the NATS server at %s has no JetStream for this account: enable it (jetstream {} in its configuration), or use another server (nats.url)", nc.ConnectedUrlRedacted())
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("JetStream did not answer in time: does the account of this worker have permission for $JS.API.>, and has the cluster a leader?")
	default:
		return nil, fmt.Errorf("set up stream %s (stream.name, stream.replicas, stream.max_bytes): %w", config.Name, err)
	}
}

func (s *Stream) create(ctx context.Context) (jetstream.Stream, error) {
	return s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        s.config.Name,
		Description: "credbus: change events and the order of writes",
		Subjects:    []string{s.config.Prefix.Events(subjects.Root), s.config.Prefix.Coherence(logToken + ">")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Replicas:    s.config.Replicas,
		MaxAge:      s.config.MaxAge,
		MaxBytes:    s.config.MaxBytes,
	})
}

// Append publishes an entry and waits until the stream has it.
func (s *Stream) Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error) {
	msg := nats.NewMsg(s.subject(entry))
	msg.Data = subjects.Append(nil, entry)
	ack, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(s.config.Name))
	if err != nil {
		return subjects.Revision{}, err
	}
	return subjects.Revision{Stream: s.identity.Load(), Seq: ack.Sequence}, nil
}

// End implements Log. It asks the stream that is there now, which may be
// another one than is followed, if that was deleted.
func (s *Stream) End(ctx context.Context) (subjects.Revision, error) {
	stream, err := s.js.Stream(ctx, s.config.Name)
	if err != nil {
		return subjects.Revision{}, err
	}
	return endOf(stream.CachedInfo()), nil
}

func endOf(info *jetstream.StreamInfo) subjects.Revision {
	return subjects.Revision{Stream: uint64(info.Created.UnixNano()), Seq: info.State.LastSeq}
}

func (s *Stream) subject(entry *subjects.Event) string {
	switch entry.Kind {
	case Intent, Unchanged, Unknown, Flush:
		return s.config.Prefix.Coherence(logToken + string(entry.Kind))
	}
	return s.config.Prefix.Event(entry.Scope, entry.ID)
}

// Follow implements Log. It sees to positions and identity itself: a client
// library that resumes on its own account would hide that something was missed.
func (s *Stream) Follow(ctx context.Context, f Follower) {
	const pause = 100 * time.Millisecond
	for ctx.Err() == nil {
		err := s.follow(ctx, f)
		if ctx.Err() != nil {
			return
		}
		s.config.Logger.Warn("event stream interrupted; reads go to the store until it is back", "error", err)
		f.Lost("the event stream cannot be followed")
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// follow reads the stream until something about it changes.
func (s *Stream) follow(ctx context.Context, f Follower) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	status := s.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer s.nc.RemoveStatusListener(status)
	go func() {
		select {
		case <-status:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	}()

	messages, end, err := s.open(ctx, f)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()

	current := s.last >= end
	if current {
		f.Current(s.revision())
	}
	for {
		msg, err := messages.Next()
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		seq := metadata.Sequence.Stream
		if seq <= s.last {
			continue
		}
		if s.last != 0 && seq != s.last+1 {
			// Limits or a purge took entries that this replica never saw.
			s.config.Logger.Warn("event stream has a gap; cache cleared", "after", s.last, "next", seq)
			f.Begin(true)
			current = false
		}
		s.last = seq
		f.Apply(s.revision(), s.decode(msg))
		if !current && seq < end && metadata.NumPending == 0 {
			s.config.Logger.Warn("event stream ends with a gap; cache cleared", "after", seq, "end", end)
			f.Begin(true)
			s.last = end
		}
		if !current && s.last >= end {
			current = true
			f.Current(s.revision())
		}
	}
}

var errDisconnected = errors.New("disconnected from NATS")

func (s *Stream) revision() subjects.Revision {
	return subjects.Revision{Stream: s.identity.Load(), Seq: s.last}
}

// open starts a consumer where this replica left off or, on a stream that is
// new to it, as far back as an intent can matter. end is the last sequence the
// stream had then.
func (s *Stream) open(ctx context.Context, f Follower) (messages jetstream.MessagesContext, end uint64, err error) {
	stream, err := s.js.Stream(ctx, s.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// Somebody deleted it. Whichever replica notices first makes another,
		// and to all of them it is one of another identity.
		s.config.Logger.Error("the event stream is gone; creating it anew", "stream", s.config.Name)
		stream, err = s.create(ctx)
	}
	if err != nil {
		return nil, 0, err
	}
	info := stream.CachedInfo()
	at := endOf(info)
	identity, end := at.Stream, at.Seq
	consumer := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	}
	known := identity == s.identity.Load() && s.last <= end
	if known {
		consumer.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		consumer.OptStartSeq = s.last + 1
	} else {
		// The server's own clock: nothing is compared with ours.
		start := info.TimeStamp.Add(-s.config.Window)
		consumer.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		consumer.OptStartTime = &start
	}
	c, err := stream.CreateConsumer(ctx, consumer)
	if err != nil {
		return nil, 0, err
	}
	// A gap before the next entry shows when that comes.
	gap := !known && s.identity.Load() != 0
	if !known {
		s.identity.Store(identity)
		s.last = 0
	}
	if c.CachedInfo().NumPending == 0 {
		// Nothing will come: what this replica has not seen was removed.
		gap = gap || known && s.last < end
		s.last = end
	}
	f.Begin(gap)
	messages, err = c.Messages(jetstream.PullMaxMessages(512), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(time.Second))
	return messages, end, err
}

// decode reads an entry. One that cannot be read may have been an order to
// drop something, so it drops all that its subject leaves possible.
func (s *Stream) decode(msg jetstream.Msg) *subjects.Event {
	entry := new(subjects.Event)
	err := subjects.Decode(msg.Data(), entry)
	if err != nil {
		s.config.Logger.Warn("an entry of the event stream cannot be read", "subject", msg.Subject(), "error", err)
		*entry = subjects.Event{Kind: Flush}
	}
	if scope, id, err := s.config.Prefix.ParseEvent(msg.Subject()); err == nil {
		// Whatever the body says, a change event is about its subject's key.
		entry.Scope, entry.ID = scope, id
	}
	return entry
}
