package manager

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"credbus/subjects"
)

// endTimeout bounds one question for the end of the log.
const endTimeout = time.Second

// ends shares questions for the end of the log, of which one is under way at a
// time: they cost the log more than a missing credential costs the store.
type ends struct {
	flights singleflight.Group
	begun   atomic.Uint64 // questions
	asking  chan struct{} // holds the one that is under way
}

// end is the revision of an answer that shows something to be missing. It is to
// be called after the store was read.
func (r *records) end(ctx context.Context) (subjects.Revision, error) {
	// Only a question that has not begun may be shared: the end that an earlier
	// one brings may lie before what this caller saw.
	next := strconv.FormatUint(r.ends.begun.Load(), 36)
	flight := r.ends.flights.DoChan(next, func() (end any, err error) {
		err = runItem(func() (err error) {
			r.ends.asking <- struct{}{}
			defer func() { <-r.ends.asking }()
			r.ends.begun.Add(1)
			end, err = r.config.Replica.End(context.WithoutCancel(ctx), endTimeout)
			return err
		})
		return end, err
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return subjects.Revision{}, result.Err
		}
		return result.Val.(subjects.Revision), nil
	case <-ctx.Done():
		return subjects.Revision{}, ctx.Err()
	}
}
