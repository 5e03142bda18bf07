package manager

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"credbus/subjects"
)

// endTimeout bounds one query for the end of the log.
const endTimeout = time.Second

// ends shares queries for the end of the log, and runs one at a time: a query
// costs the log more than a missing credential costs the store.
type ends struct {
	flights singleflight.Group
	begun   atomic.Uint64 // number of queries
	asking  chan struct{} // holds a token while a query runs
}

// end returns the revision for an answer that reports something as missing. The
// caller must read the store first.
func (r *records) end(ctx context.Context) (subjects.Revision, error) {
	// Share only a query that has not begun: an earlier one may return an end
	// before the state that this caller saw.
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
