package coherence

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// Last returns the place of the last event of a credential. Its Seq is 0 if the
// stream has none.
func (s *Stream) Last(ctx context.Context, key subjects.Target) (subjects.Revision, error) {
	at, _, err := s.last(ctx, key)
	return at, err
}

// LastChange is Last if that event reports that the credential was stored or deleted,
// and zero otherwise.
func (s *Stream) LastChange(ctx context.Context, key subjects.Target) (subjects.Revision, error) {
	at, body, err := s.last(ctx, key)
	if err != nil || at.Seq == 0 {
		return subjects.Revision{}, err
	}
	var event subjects.Event
	if subjects.Decode(body, &event) == nil && changesNothing(event.Kind) {
		return subjects.Revision{}, nil
	}
	return at, nil
}

// last returns the last event of a credential with its place.
func (s *Stream) last(ctx context.Context, key subjects.Target) (subjects.Revision, []byte, error) {
	stream, end, err := s.look(ctx)
	if err != nil {
		return subjects.Revision{}, nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, s.config.Prefix.EventEntry(key.Scope, key.ID))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return subjects.Revision{Stream: end.Stream}, nil, nil
	case err != nil:
		return subjects.Revision{}, nil, err
	}
	return subjects.Revision{Stream: end.Stream, Seq: msg.Sequence}, msg.Data, nil
}

// Holds reports whether the stream has an expiry event after a place. If the place is
// in another stream, all of this stream is after it.
func (s *Stream) Holds(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	stream, end, err := s.look(ctx)
	if err != nil {
		return false, err
	}
	if after.Stream != end.Stream {
		after.Seq = 0
	}
	for seq := after.Seq; ; {
		msg, err := stream.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(s.subject(event)))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return false, nil
		case err != nil:
			return false, err
		}
		var found subjects.Event
		if subjects.Decode(msg.Data, &found) == nil && found.Kind == event.Kind && found.Version == event.Version &&
			found.Replica == event.Replica && found.At.Equal(event.At) {
			return true, nil
		}
		seq = msg.Sequence
	}
}

// Tell publishes an expiry event, if the last event of the credential still stands
// at after, and reports whether it did. After an error the event may have been
// published all the same.
func (s *Stream) Tell(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	msg := nats.NewMsg(s.subject(event))
	msg.Data = subjects.Append(nil, event)
	_, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(s.config.Name), jetstream.WithExpectLastSequencePerSubject(after.Seq))
	if refused := new(jetstream.APIError); errors.As(err, &refused) {
		switch refused.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return false, nil
		}
	}
	return err == nil, err
}
