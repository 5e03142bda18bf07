package coherence

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// presence is the subject on which every replica answers that follows the stream, or
// would follow it if it existed.
func presence(prefix subjects.Prefix) string { return prefix.Coherence("here") }

// Alone reports whether no replica of prefix follows the stream. It returns false
// if it cannot find out.
func Alone(ctx context.Context, nc *nats.Conn, prefix subjects.Prefix) bool {
	const patience = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := nc.RequestWithContext(ctx, presence(prefix), nil)
	return errors.Is(err, nats.ErrNoResponders)
}
