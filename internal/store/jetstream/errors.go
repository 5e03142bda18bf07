package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/store"
	"credbus/subjects"
)

// codeOf is the code of an error that JetStream returned, 0 of any other.
func codeOf(err error) jetstream.ErrorCode {
	if api := new(jetstream.APIError); errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// failed says what kind of failure err is, of a request sent to subject, and
// what to do. before is the connection's last error from before the request:
// a refusal by permissions comes only that way, and nothing answers then.
func (s *Store) failed(ctx context.Context, subject string, before, err error) error {
	fail := func(kind error, remedy string) error {
		return fmt.Errorf("%w: bucket %s (store.bucket): %w: %s", kind, s.config.Bucket, err, remedy)
	}
	if ctx.Err() != nil && context.Cause(ctx) == store.ErrClosed {
		return store.ErrClosed
	}
	// Only what names this very subject: that nothing was written is relied on.
	if last := s.conn.LastError(); last != before && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`) {
		return fail(store.ErrPermission, "let the account of this worker publish to "+subject)
	}
	switch code := codeOf(err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fail(store.ErrTimeout, "has the stream of the bucket a leader?")
	case errors.Is(err, nats.ErrMaxPayload), code == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fail(store.Unfit(subjects.ErrTooLarge), "raise max_payload of the server, or the largest message of the stream")
	case jsapi.IsFull(err):
		return fail(store.ErrFull, "nothing was written: raise the largest size of the bucket (max_bytes) or the storage of the account, or free disk space of the NATS server")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fail(store.ErrUnavailable, "the bucket is gone: restore it from a backup, or restart the worker to make an empty one")
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fail(store.ErrUnavailable, "nothing takes its subjects: is the bucket there, and has its stream a leader?")
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, jetstream.ErrConnectionClosed):
		return fail(store.ErrUnavailable, "the connection to NATS is closed")
	case code != 0:
		return fail(store.ErrUnavailable, "look at the log of the NATS server, and at the limits of the account and the stream")
	}
	return fail(store.ErrUnavailable, "is the NATS server reachable?")
}
