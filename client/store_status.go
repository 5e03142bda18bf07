package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"credbus/subjects"
)

// StoreStatus is the state of one store, as one worker replica sees it.
type StoreStatus = subjects.StoreStatus

// The states of a store.
const (
	StoreOK      = subjects.StoreOK
	StoreFailing = subjects.StoreFailing
)

// The calls that a StoreFailing store refuses (StoreStatus.Refuses).
const (
	RefusesReads  = subjects.RefusesReads
	RefusesWrites = subjects.RefusesWrites
	RefusesAll    = subjects.RefusesAll
)

// storeStatusBuffer is how many statuses may wait for the loop that reads them.
const storeStatusBuffer = 256

// StoreStatuses follows the state of the replicas' stores: it yields the state of
// each store at each replica at once, and then every change. It needs permission for
// cache_stats, which it sends at first and after a loss.
//
// The loop ends without an error when ctx ends, and with one when the client closes,
// the connection is closed, or NATS refuses the subject. It can be run once;
// leaving it unsubscribes, as does the end of ctx.
//
// Statuses come at most once, and a replica that is gone reports nothing: they are
// for people and alarms, beside the answers of workers on /readyz.
func (c *Client) StoreStatuses(ctx context.Context) (iter.Seq2[StoreStatus, error], error) {
	stop, listening, err := c.listen(ctx, c.prefix.StoreStatuses(), storeStatusBuffer)
	if err != nil {
		return nil, err
	}
	s := &storeStream{subscription: listening, last: make(map[storeOf]StoreStatus)}
	begin, err := s.ask(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	return func(yield func(StoreStatus, error) bool) {
		defer stop()
		s.run(begin, yield)
	}, nil
}

type storeOf struct{ replica, name string }

type storeStream struct {
	*subscription
	last  map[storeOf]StoreStatus // the last that were yielded
	again <-chan time.Time        // when to ask once more, after a failure that may pass
}

// run yields the known statuses first, and then those that come.
func (s *storeStream) run(known []StoreStatus, yield func(StoreStatus, error) bool) {
	for s.ctx.Err() == nil {
		for _, status := range known {
			if s.isNews(&status) && !yield(status, nil) {
				return
			}
		}
		var err error
		if known, err = s.hear(); err != nil && s.ctx.Err() == nil {
			yield(StoreStatus{}, err)
			return
		}
	}
	if err := s.interrupted(); err != nil {
		yield(StoreStatus{}, err)
	}
}

// isNews notes a status. One that is no later than the last that was yielded is not
// news: a reply may be ahead of messages that are still to come.
func (s *storeStream) isNews(status *StoreStatus) bool {
	key := storeOf{status.Replica, status.Name}
	if last, ok := s.last[key]; ok && (status.Since.Before(last.Since) || *status == last) {
		return false
	}
	s.last[key] = *status
	return true
}

// hear waits for news. If some may be lost, it asks for all statuses.
func (s *storeStream) hear() ([]StoreStatus, error) {
	select {
	case <-s.ctx.Done():
		return nil, nil
	case <-s.statuses:
		if s.c.nc.IsClosed() {
			return nil, errConnectionClosed
		}
		return s.askAgain()
	case <-s.again:
		return s.askAgain()
	case msg := <-s.messages:
		var status StoreStatus
		if s.hasDropped() || subjects.Decode(msg.Data, &status) != nil {
			return s.askAgain()
		}
		return []StoreStatus{status}, nil
	}
}

// askAgain asks, and once more after a second if the failure may pass.
func (s *storeStream) askAgain() ([]StoreStatus, error) {
	s.again = nil
	all, err := s.ask(s.ctx)
	if err != nil && (passing(err) || errors.Is(err, context.DeadlineExceeded)) {
		s.again, err = time.After(time.Second), nil
	}
	return all, err
}

// ask gets the state of all stores.
func (s *storeStream) ask(ctx context.Context) (all []StoreStatus, err error) {
	stats, err := s.c.Statistics(ctx)
	if err != nil {
		return nil, err
	}
	for _, replica := range stats.Replicas {
		for _, state := range replica.Stores {
			all = append(all, StoreStatus{StoreState: state, Replica: replica.Replica})
		}
	}
	return all, nil
}
