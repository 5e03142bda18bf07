package manager

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"credbus/subjects"
)

// endTimeout keeps a log that does not answer from delaying for long what the
// store has already answered.
const endTimeout = time.Second

// ends shares questions for the end of the log, of which one is under way at a
// time: they cost the log more than a missing credential costs the store.
type ends struct {
	flights singleflight.Group
	begun   atomic.Uint64 // questions
	asking  chan struct{} // holds the one that is under way
}

// end is the revision of an answer that shows something to be missing. It is to
// be called after the store was read. A log that does not answer leaves what
// the replica has applied, and the next replica may show once more what is gone.
func (m *Manager) end(ctx context.Context) subjects.Revision {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	// Only a question that has not begun may be shared: the end that an earlier
	// one brings may lie before what this caller saw.
	next := strconv.FormatUint(m.ends.begun.Load(), 36)
	flight := m.ends.flights.DoChan(next, func() (end any, err error) {
		err = runItem(func() (err error) {
			m.ends.asking <- struct{}{}
			defer func() { <-m.ends.asking }()
			m.ends.begun.Add(1)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
			defer cancel()
			end, err = m.config.Replica.End(ctx)
			return err
		})
		return end, err
	})
	select {
	case result := <-flight:
		if result.Err == nil {
			return result.Val.(subjects.Revision)
		}
	case <-ctx.Done():
	}
	return m.config.Replica.Applied()
}
