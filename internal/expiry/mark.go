package expiry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// Mark says what was told of a credential last, or is about to be.
type Mark struct {
	Event subjects.Event    // as it is published, by whomever
	Ahead time.Duration     // what it was due by; zero of EventExpired
	After subjects.Revision // the last event of the credential before it
	Told  bool              // it was published; otherwise it may have been

	Place uint64    // of the mark itself; zero: there is none
	Put   time.Time // when it was written
}

// Marks are the memory that all workers share. Its methods may be called
// concurrently.
type Marks interface {
	// Claim takes a sweep upon the worker unless somebody did less than every
	// ago. Otherwise it returns how long it is until the next one is due.
	Claim(ctx context.Context, every time.Duration) (wait time.Duration, err error)

	// Get returns, once a Claim was answered, the mark of a credential, the zero
	// Mark where there is none. One that cannot be read has nothing but its place.
	Get(ctx context.Context, key subjects.Target) (Mark, error)

	// Put writes a mark in place of the one at mark.Place, and returns where it
	// stands: zero if another one, or none, stood there by then. After an error
	// it may have been written.
	Put(ctx context.Context, key subjects.Target, mark *Mark) (place uint64, err error)
}

// Headers of the message that holds a mark; its body is the event.
const (
	aheadHeader = "Credbus-Ahead"
	afterHeader = "Credbus-After"
	stateHeader = "Credbus-State"
)

// Texts of stateHeader. That of a mark whose event was told is the shorter one,
// so that it fits in the place of the other even when the stream is full.
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

// parseMark reads what message wrote.
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

// words of the subjects below Prefix.Coherence. A scope's tokens have a colon,
// so that no credential is named like the claim.
const (
	markWord  = "expiry."
	claimWord = "expiry.sweep"
)

func markSubject(prefix subjects.Prefix, key subjects.Target) string {
	return prefix.Coherence(markWord + strings.ReplaceAll(string(key.Scope), "/", ".") + "." + string(key.ID))
}
