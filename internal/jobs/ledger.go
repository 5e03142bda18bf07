package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"credbus/subjects"
)

// ledgerToken begins the subjects of the ledger. The server republishes each
// stored message to the subscribers of the public subject. Workers do not
// publish there: subscribers would also get messages that the stream refuses.
const ledgerToken = "job."

// ledger has an entry for each job.
type ledger struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	prefix subjects.Prefix
	now    func() time.Time
}

// entry is an entry as of a place in the ledger's stream. Place 0 means that
// there is none.
type entry struct {
	status subjects.JobStatus
	seq    uint64
}

// errOvertaken is returned if an entry has changed since it was read.
var errOvertaken = errors.New("another worker changed the status of the job")

func (l *ledger) subject(job subjects.Target) string { return private(l.prefix, ledgerToken, job) }

// get returns the entry of a job.
func (l *ledger) get(ctx context.Context, job subjects.Target) (*entry, error) {
	msg, err := l.stream.GetLastMsgForSubject(ctx, l.subject(job))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return new(entry), nil
	}
	if err != nil {
		return nil, err
	}
	return l.decode(msg.Subject, msg.Data, msg.Sequence)
}

func (l *ledger) decode(subject string, body []byte, seq uint64) (*entry, error) {
	e := &entry{seq: seq}
	if err := subjects.Decode(body, &e.status); err != nil {
		return nil, fmt.Errorf("the status on %s cannot be read: %w", subject, err)
	}
	// The subject says which job this is, whatever the body says.
	var err error
	e.status.Scope, e.status.ID, err = l.prefix.ParseJobStatus(statusBeginning(l.prefix) + strings.TrimPrefix(subject, l.prefix.Coherence(ledgerToken)))
	return e, err
}

// put makes or changes an entry that is still at place e.seq, and advances
// e.seq. If the answer gets lost, put reads the entry.
func (l *ledger) put(ctx context.Context, e *entry) error {
	e.status.Updated = l.now()
	msg := nats.NewMsg(l.subject(e.status.Target))
	msg.Data = subjects.Append(nil, &e.status)
	for attempt := 0; ; attempt++ {
		trying, cancel := context.WithTimeout(ctx, apiTimeout)
		ack, err := l.js.PublishMsg(trying, msg, jetstream.WithExpectLastSequencePerSubject(e.seq))
		cancel()
		switch {
		case err == nil:
			e.seq = ack.Sequence
			return nil
		case isWrongSequence(err) && attempt == 0:
			return errOvertaken
		case isWrongSequence(err):
			// An earlier attempt may have published it.
			there, err := l.stream.GetLastMsgForSubject(ctx, msg.Subject)
			if err != nil {
				return err
			}
			if string(there.Data) != string(msg.Data) {
				return errOvertaken
			}
			e.seq = there.Sequence
			return nil
		case ctx.Err() != nil || attempt == 2:
			return err
		}
	}
}

func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// change applies a change to the entry of a job, and repeats that until no one
// else changes the entry in between. An error of the function ends it.
func (l *ledger) change(ctx context.Context, job subjects.Target, change func(*entry) error) (*entry, error) {
	const most = 10
	for attempt := 0; ; attempt++ {
		e, err := l.get(ctx, job)
		if err != nil {
			return nil, err
		}
		if err := change(e); err != nil {
			return e, err
		}
		if err = l.put(ctx, e); !errors.Is(err, errOvertaken) || attempt == most {
			return e, err
		}
	}
}

// page calls each for up to limit messages of a stream on a subject, beginning
// at from. It returns the place after the last of them, or 0 at the end.
func page(ctx context.Context, js jetstream.JetStream, stream, subject string, from uint64, limit int, each func(*jetstream.RawStreamMsg)) (next uint64, err error) {
	msgs, err := jetstreamext.GetBatch(ctx, js, stream, limit, jetstreamext.GetBatchSubject(subject), jetstreamext.GetBatchSeq(max(1, from)))
	if err != nil {
		return 0, err
	}
	n := 0
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		each(msg)
		n, next = n+1, msg.Sequence+1
	}
	if n < limit {
		return 0, nil
	}
	return next, nil
}
