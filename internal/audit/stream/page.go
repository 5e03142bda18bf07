package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// place is where a reader is in the stream: the number of the next message, and of the last one
// that there was when the reader began. Without that, a reader would never end: each page that
// it asks for is a record, too.
type place struct{ next, until uint64 }

func (p place) String() string { return fmt.Sprintf("%d-%d", p.next, p.until) }

// errCursor says that a cursor is not one of Page.
var errCursor = subjects.Errorf(subjects.InvalidArgument, "cursor is not one of this list: begin again without a cursor")

func parsePlace(cursor string) (p place, err error) {
	if n, err := fmt.Sscanf(cursor, "%d-%d", &p.next, &p.until); n != 2 || err != nil || p.String() != cursor || p.next == 0 {
		return place{}, errCursor
	}
	return p, nil
}

// Page returns a page of the blocks of all workers, the oldest first.
func (l *Log) Page(ctx context.Context, r *subjects.AuditRequest, room subjects.Room) (*subjects.AuditReply, error) {
	from := jetstreamext.GetBatchSeq(1)
	var at place
	var err error
	if r.Cursor != "" {
		if at, err = parsePlace(r.Cursor); err != nil {
			return nil, err
		}
		from = jetstreamext.GetBatchSeq(at.next)
	} else {
		state, err := l.state(ctx)
		if err != nil {
			return nil, unavailable(err)
		}
		if state.Msgs == 0 || r.Since.After(state.LastTime) {
			return new(subjects.AuditReply), nil
		}
		at.until = state.LastSeq
		if !r.Since.IsZero() {
			from = jetstreamext.GetBatchStartTime(r.Since)
		}
	}
	limit := r.Limit
	if limit == 0 {
		limit = subjects.DefaultListItems
	}
	messages, err := jetstreamext.GetBatch(ctx, l.js, l.config.Stream, limit, from, jetstreamext.GetBatchMaxBytes(room.Limit))
	if err != nil {
		return nil, unavailable(err)
	}
	reply := &subjects.AuditReply{}
	total := len(`{"blocks":[],"cursor":""}`) + 512 // and the revision
	for msg, err := range messages {
		if err != nil { // also for none: there is one, unless it became too old meanwhile
			return nil, unavailable(err)
		}
		if msg.Sequence > at.until {
			return reply, nil
		}
		block := subjects.AuditBlock{Seq: int64(msg.Sequence), Worker: strings.TrimPrefix(msg.Subject, l.config.Prefix.Coherence(token)), Block: msg.Data}
		if total += room.Size(subjects.Append(nil, &block)); total > room.Limit && len(reply.Blocks) > 0 {
			break
		}
		reply.Blocks = append(reply.Blocks, block)
		at.next = msg.Sequence + 1
	}
	if len(reply.Blocks) == 0 { // the server sent nothing, as it does if it refuses to
		return nil, unavailable(context.DeadlineExceeded)
	}
	if at.next <= at.until {
		reply.Cursor = at.String()
	}
	return reply, nil
}

// unavailable turns an error of JetStream into the one that the caller sees.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return subjects.Errorf(subjects.StorageTimeout, "the stream of the audit log did not answer in time: try again later")
	}
	return subjects.Errorf(subjects.StorageUnavailable, "the stream of the audit log cannot be reached: try again later")
}

// state says how far the stream goes.
func (l *Log) state(ctx context.Context) (jetstream.StreamState, error) {
	info, err := jsapi.Ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return l.stream.Info(ctx) })
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}
