package coherence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// StreamConfig describes the JetStream stream that orders the changes.
type StreamConfig struct {
	Name     string          // required
	Prefix   subjects.Prefix // required
	Replicas int             // 1, 3 or 5; default 1
	MaxAge   time.Duration   // default 24 h
	MaxBytes int64           // default 256 MiB
	Logger   *slog.Logger    // default slog.Default()
}

// logToken separates the log from messages that replicas send each other outside it.
const logToken = "log."

// Stream is a Log over a JetStream stream.
type Stream struct {
	config StreamConfig
	nc     *nats.Conn
	js     jetstream.JetStream

	identity   atomic.Uint64 // of the stream that is followed
	unreadable atomic.Int64  // entries so far
}

func (c StreamConfig) withDefaults() StreamConfig {
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.MaxAge = cmp.Or(c.MaxAge, 24*time.Hour)
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<20)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Spec describes the stream to JetStream.
func (c StreamConfig) Spec() jsapi.Spec {
	c = c.withDefaults()
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:        c.Name,
			Description: "credbus: change events and the order of writes",
			Subjects:    []string{c.Prefix.EventEntries(subjects.Root), c.Prefix.Coherence(logToken + ">")},
			// The server publishes again what clients hear, so nothing that a client
			// publishes there reaches a replica.
			RePublish:   &jetstream.RePublish{Source: c.Prefix.EventEntries(subjects.Root), Destination: c.Prefix.Events(subjects.Root)},
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardOld,
			Storage:     jetstream.FileStorage,
			Replicas:    c.Replicas,
			MaxAge:      c.MaxAge,
			MaxBytes:    c.MaxBytes,
			AllowMsgTTL: true, // for entries of no use an hour later
		},
		Owner:   string(c.Prefix),
		Former:  []string{c.Prefix.Events(subjects.Root), c.Prefix.Coherence(logToken + ">")},
		Setting: "stream.name", BytesSetting: "stream.max_bytes",
		Logger: c.Logger,
	}
}

// OpenStream creates the stream if it is missing. It changes an existing one only if
// that belongs to this deployment. Its errors say what the server lacks.
func OpenStream(ctx context.Context, nc *nats.Conn, config StreamConfig) (*Stream, error) {
	config = config.withDefaults()
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
	case isRefusal(err):
		return nil, err
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("JetStream did not answer in time: does the account of this worker have permission for $JS.API.>, and has the cluster a leader?")
	default:
		return nil, fmt.Errorf("set up stream %s (stream.name, stream.replicas, stream.max_bytes): %w", config.Name, err)
	}
}

// founded marks a stream that replaced no other: no replica was running when it was
// created.
const founded = "credbus_founded"

// create creates the stream, or finds it.
func (s *Stream) create(ctx context.Context) (jetstream.Stream, error) {
	spec := s.config.Spec()
	spec.Metadata = func(ctx context.Context) map[string]string {
		if Alone(ctx, s.nc, s.config.Prefix) {
			return map[string]string{founded: "true"}
		}
		return nil
	}
	return jsapi.Ensure(ctx, s.js, spec)
}

func isRefusal(err error) bool { return errors.As(err, new(*jsapi.Refusal)) }

// age is for how long a stream has kept all that was announced, by the server's clock:
// since it was created or, if earlier entries were removed, since its first entry.
func age(info *jetstream.StreamInfo) time.Duration {
	age := info.TimeStamp.Sub(info.Created)
	if info.Config.Metadata[founded] != "" {
		age = Forever
	}
	switch state := info.State; {
	case state.FirstSeq <= 1:
	case state.Msgs == 0:
		age = min(age, max(0, info.TimeStamp.Sub(state.LastTime)))
	default:
		age = min(age, max(0, info.TimeStamp.Sub(state.FirstTime)))
	}
	return age
}

// passingTTL is how long the stream keeps entries that say nothing about any key. A
// replica that was away for longer finds a gap in their place.
const passingTTL = time.Hour

// Append publishes an entry and waits until the stream has it. The end of a write may
// be appended again: the stream keeps it once.
func (s *Stream) Append(ctx context.Context, entry *subjects.Event) (subjects.Revision, error) {
	msg := nats.NewMsg(s.subject(entry))
	msg.Data = subjects.Append(nil, entry)
	options := []jetstream.PublishOpt{jetstream.WithExpectStream(s.config.Name)}
	switch {
	case changesNothing(entry.Kind):
		options = append(options, jetstream.WithMsgTTL(passingTTL))
	case entry.WriteID != "":
		options = append(options, jetstream.WithMsgID(entry.WriteID+"-"+string(entry.Kind)))
	}
	ack, err := s.js.PublishMsg(ctx, msg, options...)
	if jsapi.IsFull(err) {
		return subjects.Revision{}, fmt.Errorf("%w: stream %s (stream.name): %w: give the account more storage, or free disk space of the NATS server", ErrNoRoom, s.config.Name, err)
	}
	if err != nil {
		return subjects.Revision{}, err
	}
	return subjects.Revision{Stream: s.identity.Load(), Seq: ack.Sequence}, nil
}

// End implements Log. It is the end of the stream that exists now. If the followed
// stream was deleted, that is another one. Where the stream has copies, one that was
// cut off may take itself for the leader for a while and answer. So End appends a
// mark first, which takes a majority of them.
func (s *Stream) End(ctx context.Context) (subjects.Revision, error) {
	var mark subjects.Revision
	if s.config.Replicas > 1 {
		var err error
		if mark, err = s.Append(ctx, &subjects.Event{Kind: Mark, At: time.Now()}); err != nil {
			return mark, err
		}
	}
	_, end, err := s.look(ctx)
	if err != nil {
		return subjects.Revision{}, err
	}
	end.Seq = max(end.Seq, mark.Seq)
	return end, nil
}

// look finds the stream that exists now, and its end.
func (s *Stream) look(ctx context.Context) (jetstream.Stream, subjects.Revision, error) {
	stream, err := s.js.Stream(ctx, s.config.Name)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return stream, endOf(stream.CachedInfo()), nil
}

func endOf(info *jetstream.StreamInfo) subjects.Revision {
	return subjects.Revision{Stream: uint64(info.Created.UnixNano()), Seq: info.State.LastSeq}
}

func (s *Stream) subject(entry *subjects.Event) string {
	if isChangeEvent(entry.Kind) {
		return s.config.Prefix.EventEntry(entry.Scope, entry.ID)
	}
	return s.config.Prefix.Coherence(logToken + string(entry.Kind))
}

// acknowledgement is the subject on which one replica tells another that it has
// applied an intent.
func (s *Stream) acknowledgement(to, from string) string {
	return s.config.Prefix.Coherence("applied." + to + "." + from)
}

// Acknowledge implements Log.
func (s *Stream) Acknowledge(from, to, write string) {
	if !isToken(from) || !isToken(to) {
		return
	}
	if err := s.nc.Publish(s.acknowledgement(to, from), []byte(write)); err != nil {
		s.config.Logger.Debug("an intent could not be acknowledged", "to", to, "error", err)
	}
}

// isToken reports whether a name can be one token of a subject.
func isToken(name string) bool {
	return name != "" && !strings.ContainsAny(name, ".*> \t\r\n")
}

// Follow implements Log. It checks the identity of the stream itself: a client library
// that resumes on its own would hide that the stream is another one.
func (s *Stream) Follow(ctx context.Context, replica string, from subjects.Revision, window time.Duration, f Follower) error {
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
	if !isToken(replica) {
		return fmt.Errorf("replica name %q is not one token of a subject", replica)
	}
	var hearing sync.WaitGroup
	defer hearing.Wait()
	defer cancel(nil)
	for subject, hear := range map[string]func(*nats.Msg){
		s.acknowledgement(replica, "*"): func(msg *nats.Msg) {
			f.Acknowledged(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:], string(msg.Data))
		},
		presence(s.config.Prefix): func(msg *nats.Msg) { _ = msg.Respond(nil) },
	} {
		sub, err := s.nc.SubscribeSync(subject)
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		hearing.Go(func() {
			if err := hearAll(ctx, sub, hear); ctx.Err() == nil {
				cancel(fmt.Errorf("listen on %s: %w", subject, err))
			}
		})
	}
	messages, info, err := s.open(ctx, from, window)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	end := endOf(info)
	f.Open(end, age(info))
	for {
		msg, err := messages.Next()
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		f.Deliver(subjects.Revision{Stream: end.Stream, Seq: metadata.Sequence.Stream}, s.decode(msg))
	}
}

// hearAll passes messages to hear until ctx ends, or the server refuses or removes the
// subscription. It ends the subscription.
func hearAll(ctx context.Context, sub *nats.Subscription, hear func(*nats.Msg)) (err error) {
	end := func() { _ = sub.Unsubscribe() } // a closed connection has none
	defer end()
	defer context.AfterFunc(ctx, end)()
	for err == nil || errors.Is(err, nats.ErrSlowConsumer) { // senders must cope with dropped messages
		var msg *nats.Msg
		for msg, err = range sub.Msgs() {
			if err == nil {
				hear(msg)
			}
		}
	}
	return err
}

var errDisconnected = errors.New("disconnected from NATS")

// open starts a consumer after from or, on another stream, as far back as window. info
// describes the stream at that moment.
func (s *Stream) open(ctx context.Context, from subjects.Revision, window time.Duration) (messages jetstream.MessagesContext, info *jetstream.StreamInfo, err error) {
	stream, err := s.js.Stream(ctx, s.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.recreate(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	info = stream.CachedInfo()
	end := endOf(info)
	consumer := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	}
	if from.Stream == end.Stream && from.Seq > 0 && from.Seq <= end.Seq {
		consumer.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		consumer.OptStartSeq = from.Seq + 1
	} else {
		// The server's own clock: nothing is compared with ours.
		start := info.TimeStamp.Add(-window)
		consumer.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		consumer.OptStartTime = &start
	}
	c, err := stream.CreateConsumer(ctx, consumer)
	if err != nil {
		return nil, nil, err
	}
	s.identity.Store(end.Stream)
	messages, err = c.Messages(jetstream.PullMaxMessages(512), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(time.Second))
	return messages, info, err
}

// recreate creates a stream anew that somebody deleted. The replicas notice at the same
// time, and take turns: servers have crashed that were still removing the files of the
// old stream, or were creating the same stream twice at once.
func (s *Stream) recreate(ctx context.Context) (jetstream.Stream, error) {
	const least, spread = 200 * time.Millisecond, 500 * time.Millisecond
	select {
	case <-time.After(least + rand.N(spread)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	stream, err := s.js.Stream(ctx, s.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.config.Logger.Error("the event stream is gone; creating it anew", "stream", s.config.Name)
		stream, err = s.create(ctx)
	}
	return stream, err
}

func isChangeEvent(kind subjects.EventKind) bool {
	switch kind {
	case subjects.EventStored, subjects.EventDeleted, subjects.EventExpiring, subjects.EventExpired:
		return true
	}
	return false
}

// decode reads an entry. Only workers write entries, so an unreadable one may be an
// order of a newer version to drop something: it drops everything.
func (s *Stream) decode(msg jetstream.Msg) *subjects.Event {
	entry := new(subjects.Event)
	err := subjects.Decode(msg.Data(), entry)
	if err == nil {
		err = s.fit(msg.Subject(), entry)
	}
	if err == nil {
		return entry
	}
	if n := s.unreadable.Add(1); n == 1 {
		s.config.Logger.Error("an entry of the event stream cannot be read, perhaps because a worker of another version wrote it: the cache is emptied; further ones are logged as debug only", "subject", msg.Subject(), "error", err)
	} else {
		s.config.Logger.Debug("an entry of the event stream cannot be read", "subject", msg.Subject(), "error", err, "count", n)
	}
	return &subjects.Event{Kind: Flush}
}

// fit makes an entry agree with its subject: a change event is about its subject's key,
// and any other kind has a subject of its own.
func (s *Stream) fit(subject string, entry *subjects.Event) error {
	scope, id, err := s.config.Prefix.ParseEventEntry(subject)
	if isChangeEvent(entry.Kind) != (err == nil) {
		return fmt.Errorf("its kind %q does not belong on its subject", entry.Kind)
	}
	if err == nil {
		entry.Scope, entry.ID = scope, id
		return nil
	}
	if subject != s.subject(entry) {
		return fmt.Errorf("its kind %q does not belong on its subject", entry.Kind)
	}
	return nil
}
