package expiry

import (
	"context"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// patience is how old a place may be that an event is published after. It is well below
// the shortest stream.max_age: after that the stream forgets the last event at that
// place, and also an event that was announced since.
const patience = 20 * time.Second

// settling is for how long other workers leave an event to the worker that began it. That
// worker may still publish it: the stream would take only one of two events, but clients
// that listen on the subject would hear both.
const settling = 2 * patience

// tell announces that a credential is within ahead of its expiry, unless that was
// announced already. The package comment draws the steps. If another worker was faster
// at one of them, tell leaves the rest to that worker, or to the next sweep.
func (s *sweep) tell(ctx context.Context, record *store.Record, ahead time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := record.Target
	mark, err := s.config.Marks.Get(ctx, key)
	if err != nil {
		return err
	}
	// A mark counts even if it was begun by a clock that is ahead of this one.
	begun := mark.Place != 0 && mark.Event.Version == record.Version && mark.Ahead <= ahead
	if begun && mark.Told {
		return s.refresh(ctx, key, &mark)
	}
	if begun && time.Since(mark.Put) < settling {
		return nil
	}
	looked := time.Now()
	last, err := s.config.Events.Last(ctx, key)
	if err != nil || last.Compare(s.end) > 0 {
		return err
	}
	if begun {
		// Holds comes after Last: what is published from here on is after last.
		if mark.Told, err = s.config.Events.Holds(ctx, &mark.Event, mark.After); err != nil {
			return err
		}
		if mark.Told {
			_, err = s.config.Marks.Put(ctx, key, &mark)
			return err
		}
		mark.After = last
	} else {
		mark = Mark{Event: s.event(record, ahead), Ahead: ahead, After: last, Place: mark.Place}
	}
	if mark.Place, err = s.config.Marks.Put(ctx, key, &mark); err != nil || mark.Place == 0 {
		return err
	}
	// The process may have been paused. Its contexts learn of that from timers, a
	// moment later.
	if time.Since(looked) > patience {
		return context.DeadlineExceeded
	}
	if mark.Told, err = s.config.Events.Tell(ctx, &mark.Event, last); err != nil || !mark.Told {
		return err
	}
	s.count(mark.Event.Kind)
	_, err = s.config.Marks.Put(ctx, key, &mark)
	return err
}

func (s *sweep) count(kind subjects.EventKind) {
	if kind == subjects.EventExpired {
		s.expired++
	} else {
		s.expiring++
	}
}

// refresh writes a mark again before the stream forgets it.
func (s *sweep) refresh(ctx context.Context, key subjects.Target, mark *Mark) error {
	if time.Since(mark.Put) < refreshAge {
		return nil
	}
	_, err := s.config.Marks.Put(ctx, key, mark)
	return err
}
