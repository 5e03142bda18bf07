package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/subjects"
)

// Place is a store of this worker of which another worker may have a copy.
type Place struct {
	Name     string // of the store, in the configuration
	Identity string
	Store    store.Marked
}

// placeQuestion asks other workers whether they find a mark in the store with that
// identity.
type placeQuestion struct {
	Worker   string `json:"worker"`
	Identity string `json:"identity"`
	Mark     string `json:"mark"`
}

type placeAnswer struct {
	Worker string        `json:"worker"`
	Host   string        `json:"host"`
	Found  bool          `json:"found"`
	Up     time.Duration `json:"up"` // how long that worker has run, in nanoseconds
}

// Places finds workers whose store is a copy of this worker's: it has the same
// identity, but neither worker sees what the other writes. A machine that was cloned
// with its data has such a copy.
type Places struct {
	Conn   *nats.Conn
	Prefix subjects.Prefix
	Worker string // the name of this worker, unique
	Host   string // for the error
	Places []Place
	// Started is when this worker started. Of two workers that disagree, the younger stops.
	Started time.Time
}

// placePatience is how long Check waits for the answers of other workers.
const placePatience = 500 * time.Millisecond

// answerWithin bounds one answer: the asking worker waits no longer, and a store that
// hangs must not hold up the next question.
const answerWithin = 2 * placePatience

// maxPlaceMessage is the longest message that is read, in bytes.
const maxPlaceMessage = 4 << 10

func (p *Places) subject() string { return p.Prefix.Coherence("place") }

// Answer answers the questions of others until the connection closes.
func (p *Places) Answer() error {
	_, err := p.Conn.Subscribe(p.subject(), func(msg *nats.Msg) {
		var question placeQuestion
		if len(msg.Data) > maxPlaceMessage || json.Unmarshal(msg.Data, &question) != nil || question.Worker == p.Worker {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
		defer cancel()
		for _, place := range p.Places {
			if place.Identity != question.Identity {
				continue
			}
			found, err := place.Store.HasMark(ctx, question.Mark)
			if err != nil {
				return // the store cannot say
			}
			body, err := json.Marshal(placeAnswer{Worker: p.Worker, Host: p.Host, Found: found, Up: time.Since(p.Started)})
			if err == nil {
				_ = msg.Respond(body)
			}
			return
		}
	})
	return err
}

// Check returns an error if a worker that has run for longer has a copy of one of
// Places. It returns nil if it cannot find out.
func (p *Places) Check(ctx context.Context) error {
	for _, place := range p.Places {
		if err := p.check(ctx, place); err != nil {
			return err
		}
	}
	return nil
}

func (p *Places) check(ctx context.Context, place Place) error {
	mark, remove, err := place.Store.Mark(ctx)
	if err != nil {
		return nil //nolint:nilerr // such as a full disk, which proves nothing
	}
	defer remove()
	body, err := json.Marshal(placeQuestion{Worker: p.Worker, Identity: place.Identity, Mark: mark})
	if err != nil {
		return err
	}
	inbox := p.Conn.NewInbox()
	answers, err := p.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil //nolint:nilerr // the connection is closed
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection is closed
	if err := p.Conn.PublishRequest(p.subject(), inbox, body); err != nil {
		return nil //nolint:nilerr // as above
	}
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return nil //nolint:nilerr // nobody else answers
		}
		var answer placeAnswer
		if len(msg.Data) > maxPlaceMessage || json.Unmarshal(msg.Data, &answer) != nil {
			continue
		}
		if answer.Up < time.Since(p.Started) {
			continue
		}
		if answer.Found {
			return nil
		}
		return &Copy{Store: place.Name, Identity: place.Identity, Other: answer.Worker, Host: answer.Host}
	}
}

// Copy is the error of a worker whose store is a copy of another worker's.
type Copy struct {
	Store, Identity string
	Other, Host     string // a worker that has the other copy, and where it runs
}

func (c *Copy) Error() string {
	return fmt.Sprintf("store %s (%s) is not the one of worker %s (%s): one was copied from the other, and neither worker would find what the other stores; "+
		"let both use the same directory, or stop the workers that use the wrong copy", c.Store, c.Identity, c.Other, c.Host)
}

// IsMisfit reports whether a worker must stop because of err: it does not fit its
// deployment.
func IsMisfit(err error) bool {
	_, mismatch := errors.AsType[*Mismatch](err)
	_, copied := errors.AsType[*Copy](err)
	return mismatch || copied
}
