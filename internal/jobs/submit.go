package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/manager"
	"credbus/subjects"
)

// Jobs are submitted to workers, which put them into the queue:
//
//	submitter ─ request on Job ─► worker ─ publish on QueuedJob ─► stream
//	    ◄──────── answer ────────   ◄────── acknowledgement ──────
//
// A stream obeys the headers of a message. It sends its acknowledgement to any
// subject that the publisher names, with the rights of the account. So a worker
// passes on only the body, the name, and the condition that no job of that name
// is queued.

// nameHeader carries the submitter's message id, which names a job without a name.
const nameHeader = "Credbus-Job"

// Submit puts a job into the queue and returns the answer for its submitter: an
// acknowledgement in the form of a stream's, or a refusal. It returns nil if the outcome is
// unknown.
func (s *Service) Submit(ctx context.Context, submitted *nats.Msg) (answer []byte) {
	_, scope, id, err := s.config.Prefix.ParseJob(submitted.Subject)
	if err == nil {
		err = checkJobID(id)
	}
	if err != nil {
		return notAccepted(400, 0, err.Error())
	}
	msg := nats.NewMsg(s.config.Prefix.QueuedJob(submitted.Subject))
	msg.Data = submitted.Data
	if name := submitted.Header.Get(nats.MsgIdHdr); name != "" {
		// Only the last part: the subject has the scope.
		msg.Header.Set(nameHeader, name[strings.LastIndexByte(name, '/')+1:])
	}
	var options []jetstream.PublishOpt
	switch submitted.Header.Get(jetstream.ExpectedLastSubjSeqHeader) {
	case "":
	case "0":
		options = append(options, jetstream.WithExpectLastSequencePerSubject(0))
	default:
		return notAccepted(400, 0, "the header "+jetstream.ExpectedLastSubjSeqHeader+" may only be 0: leave it out, or let no job of this name be in the queue")
	}
	if err := s.admit(ctx, scope, msg.Subject, id != "" && len(options) > 0); err != nil {
		told, _ := manager.Explain(err, subjects.Target{})
		return notAccepted(told.Code.Number(), 0, told.Message)
	}
	err = s.publish(ctx, msg, options...)
	api, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		return accepted(s.config.Stream)
	case isWrongSequence(err):
		return notAccepted(400, jetstream.JSErrCodeStreamWrongLastSequence, "the queue has a job of this name")
	case refused:
		return notAccepted(api.Code, api.ErrorCode, api.Description)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return notAccepted(503, 0, "the queue of jobs does not answer: try again later")
	}
	s.config.Logger.Debug("the outcome of a submitted job is unknown", "subject", submitted.Subject, "error", err)
	return nil
}

// accepted is an acknowledgement that clients of JetStream can read. Its
// sequence is always 1: the real one would show how many jobs others submit.
func accepted(stream string) []byte {
	return encode(jetstream.PubAck{Stream: stream, Sequence: 1})
}

func notAccepted(code int, errCode jetstream.ErrorCode, description string) []byte {
	return encode(struct {
		Error jetstream.APIError `json:"error"`
	}{jetstream.APIError{Code: code, ErrorCode: errCode, Description: description}})
}

func encode(answer any) []byte {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts and numbers always encode
	}
	return text
}

// queued returns the subject of a job in the queue.
func (c Config) queued(command subjects.Command, scope subjects.Scope, id subjects.ID) string {
	return c.Prefix.QueuedJob(c.Prefix.Job(command, scope, id))
}

// parse reads the subject of a job, in the queue or on submission.
func (s *Service) parse(subject string) (subjects.Command, subjects.Scope, subjects.ID, error) {
	return s.config.Prefix.ParseJob(s.config.Prefix.SubmittedJob(subject))
}
