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

// codeOf returns the code of an error of JetStream, or 0 for any other error.
func codeOf(err error) jetstream.ErrorCode {
	if api := new(jetstream.APIError); errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// failed classifies err, the error of a request sent to subject, and adds what
// to do. before is the connection's last error before the request: missing
// permissions show only as such an error, and the request gets no answer.
func (s *Store) failed(ctx context.Context, subject string, before, err error) error {
	fail := func(kind error, remedy string) error {
		return fmt.Errorf("%w: bucket %s (store.bucket): %w: %s", kind, s.config.Bucket, err, remedy)
	}
	if ctx.Err() != nil && context.Cause(ctx) == store.ErrClosed {
		return store.ErrClosed
	}
	// Only an error that names this very subject counts: callers rely on it to
	// mean that nothing was written.
	if last := s.conn.LastError(); last != before && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`) {
		return fail(store.ErrPermission, "let the account of this worker publish to "+subject)
	}
	switch code := codeOf(err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fail(store.ErrTimeout, "check that the stream of the bucket has a leader")
	case errors.Is(err, nats.ErrMaxPayload), code == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fail(store.Unfit(subjects.ErrTooLarge), "raise max_payload of the server, or the largest message of the stream")
	case jsapi.IsFull(err):
		return fail(store.ErrFull, "nothing was written: raise the largest size of the bucket (max_bytes) or the storage of the account, or free disk space of the NATS server")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fail(store.ErrUnavailable, "the bucket is gone: restore it from a backup, or restart the worker to make an empty one")
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fail(store.ErrUnavailable, "no stream takes the request: check that the bucket exists and its stream has a leader")
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, jetstream.ErrConnectionClosed):
		return fail(store.ErrUnavailable, "the connection to NATS is closed")
	case code != 0:
		return fail(store.ErrUnavailable, "look at the log of the NATS server, and at the limits of the account and the stream")
	}
	return fail(store.ErrUnavailable, "check that the NATS server is reachable")
}
