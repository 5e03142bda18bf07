package jsapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// SetUp is the set-up of a stream, for errors about it.
type SetUp struct {
	Conn     *nats.Conn
	Stream   string
	Settings string // those that it follows from
	Room     string // further ways to make room for it, such as ", or lower jobs.max_bytes"; may be empty
	Without  string // how to do without it, such as ", or set jobs.enabled to false"; may be empty
}

// Explain adds to an error of the set-up what to do about it.
func (s SetUp) Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("the NATS server at %s has no JetStream for this account: enable it%s", s.Conn.ConnectedUrlRedacted(), s.Without)
	case IsFull(err):
		return fmt.Errorf("the NATS servers have no room to reserve for stream %s: give the account or the disk more room%s%s: %w", s.Stream, s.Room, s.Without, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("JetStream did not answer in time about stream %s: does the account of this worker have the permissions of deploy/jetstream/worker.conf, and has the cluster a leader?", s.Stream)
	}
	return fmt.Errorf("set up stream %s (%s): %w", s.Stream, s.Settings, err)
}
