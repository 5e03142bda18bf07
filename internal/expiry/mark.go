package expiry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// Mark records what was announced last about a credential, or is about to be.
type Mark struct {
	Event subjects.Event    // as it is published, by any worker
	Ahead time.Duration     // the threshold reached; zero for EventExpired
	After subjects.Revision // the last event of the credential before it
	Told  bool              // it was published; if false, it still may have been

	Place uint64    // of the mark itself; zero: there is none
	Put   time.Time // when it was written
}

// Marks are the memory that all workers share. The methods may be called concurrently.
type Marks interface {
	// Claim takes a sweep for this worker, unless a worker took one less than every ago.
	// In that case it returns the time until the next sweep is due.
	Claim(ctx context.Context, every time.Duration) (wait time.Duration, err error)

	// Get returns the mark of a credential, the zero Mark if there is none. A Claim must
	// have succeeded before. An unreadable mark has only its place and time.
	Get(ctx context.Context, key subjects.Target) (Mark, error)

	// Put replaces the mark at mark.Place and returns the new place: zero if by then
	// another mark, or none, stood there. After an error the mark may have been
	// written all the same.
	Put(ctx context.Context, key subjects.Target, mark *Mark) (place uint64, err error)
}

// Headers of the message that holds a mark; its body is the event.
const (
	aheadHeader = "Credbus-Ahead"
	afterHeader = "Credbus-After"
	stateHeader = "Credbus-State"
)

// Values of stateHeader. The one of a published event is shorter, so that it can replace
// the other even when the stream is full.
const (
	telling = "telling"
	told    = "told"
)

func (m *Mark) message(subject string) *nats.Msg {
	msg := nats.NewMsg(subject)
	state := telling
	if m.Told {
		state = told
	}
	msg.Header.Set(aheadHeader, m.Ahead.String())
	msg.Header.Set(afterHeader, m.After.String())
	msg.Header.Set(stateHeader, state)
	msg.Data = subjects.Append(nil, &m.Event)
	return msg
}

// parseMark reads what Mark.message wrote.
func parseMark(header nats.Header, body []byte) (m Mark, err error) {
	if err := subjects.Decode(body, &m.Event); err != nil {
		return Mark{}, err
	}
	if m.Ahead, err = time.ParseDuration(header.Get(aheadHeader)); err != nil {
		return Mark{}, fmt.Errorf("header %s: %w", aheadHeader, err)
	}
	if m.After, err = subjects.ParseRevision(header.Get(afterHeader)); err != nil {
		return Mark{}, fmt.Errorf("header %s: %w", afterHeader, err)
	}
	switch state := header.Get(stateHeader); state {
	case telling, told:
		m.Told = state == told
	default:
		return Mark{}, fmt.Errorf("header %s is neither %s nor %s", stateHeader, telling, told)
	}
	return m, nil
}

// Words of the subjects below Prefix.Coherence. Every token of a scope has a colon, so no
// credential has the subject of the claim.
const (
	markWord  = "expiry."
	claimWord = "expiry.sweep"
)

func markSubject(prefix subjects.Prefix, key subjects.Target) string {
	return prefix.Coherence(markWord + strings.ReplaceAll(string(key.Scope), "/", ".") + "." + string(key.ID))
}
