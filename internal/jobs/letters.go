package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// deadToken begins the subjects of dead letters, which hold whole jobs: no
// client may see them.
const deadToken = "job_dead."

// letters are the jobs that were given up.
type letters struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	prefix subjects.Prefix
}

// letter is a dead letter and its place.
type letter struct {
	subjects.DeadJob
	seq uint64
}

func (l *letters) subject(job subjects.Target) string { return private(l.prefix, deadToken, job) }

// private returns a subject of a job which no client may publish to or see.
func private(prefix subjects.Prefix, token string, job subjects.Target) string {
	return prefix.Coherence(token) + strings.TrimPrefix(prefix.JobStatus(job.Scope, job.ID), statusBeginning(prefix))
}

// statusBeginning returns the beginning of the public subjects of statuses.
func statusBeginning(prefix subjects.Prefix) string {
	return strings.TrimSuffix(prefix.JobStatuses(subjects.Root), ">")
}

// put writes the letter of a job. It replaces an earlier one.
func (l *letters) put(ctx context.Context, dead *subjects.DeadJob, most int) error {
	msg := nats.NewMsg(l.subject(dead.Status.Target))
	msg.Data = subjects.Append(nil, dead)
	if len(msg.Data) > most {
		// If both do not fit, the body of the job is needed for a retry; the
		// results are not.
		brief := *dead
		brief.Status.Results = nil
		msg.Data = subjects.Append(nil, &brief)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := l.js.PublishMsg(ctx, msg)
	return err
}

// get returns the letter of a job, or nil.
func (l *letters) get(ctx context.Context, job subjects.Target) (*letter, error) {
	msg, err := l.stream.GetLastMsgForSubject(ctx, l.subject(job))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return l.decode(msg)
}

func (l *letters) decode(msg *jetstream.RawStreamMsg) (*letter, error) {
	found := &letter{seq: msg.Sequence}
	if err := subjects.Decode(msg.Data, &found.DeadJob); err != nil {
		return nil, fmt.Errorf("the dead letter on %s cannot be read: %w", msg.Subject, err)
	}
	// The subject says which job this is, whatever the body says.
	var err error
	found.Status.Scope, found.Status.ID, err = l.prefix.ParseJobStatus(statusBeginning(l.prefix) + strings.TrimPrefix(msg.Subject, l.prefix.Coherence(deadToken)))
	return found, err
}

// sealedTo reports whether a letter holds a job that is sealed to a key. It
// returns true for a letter that cannot be read, which may hold one.
func (l *letters) sealedTo(ctx context.Context, key string) (used bool, err error) {
	all := l.subject(subjects.Target{Scope: subjects.Root, ID: ">"})
	const limit = 100
	for from := uint64(1); from != 0 && !used && err == nil; {
		from, err = page(ctx, l.js, l.stream.CachedInfo().Config.Name, all, from, limit, func(msg *jetstream.RawStreamMsg) {
			var job subjects.Job
			dead, err := l.decode(msg)
			used = used || err != nil || len(dead.Body) > 0 && (subjects.Decode(dead.Body, &job) != nil || job.SealedTo == key)
		})
	}
	return used, err
}

// drop removes a letter.
func (l *letters) drop(ctx context.Context, dead *letter) error {
	err := l.stream.DeleteMsg(ctx, dead.seq)
	if isGone(err) {
		return nil // somebody else dropped it
	}
	return err
}
