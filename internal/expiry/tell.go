package expiry

import (
	"context"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// patience is how old the place may be after which an event is published. It is
// well below the shortest stream.max_age: what stood there last is forgotten
// after that, and an event that was told in the meantime with it.
const patience = 20 * time.Second

// settling is for how long what was begun is left to the worker that began it. It
// may still publish: the stream would take one of two events only, and whoever
// listens on the subject hear both.
const settling = 2 * patience

// tell tells that a credential is within ahead of its end, unless it was told.
// The steps are those that the package's documentation draws. Where another
// worker was faster at one, it is left to that one, or to the next sweep.
func (s *sweep) tell(ctx context.Context, record *store.Record, ahead time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := subjects.Target(record.Key)
	mark, err := s.config.Marks.Get(ctx, key)
	if err != nil {
		return err
	}
	// What was begun by a clock that is ahead of this one counts as well.
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
		// Looked for after last was: what is published from here on moves it.
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
	// The process may have been paused, of which its contexts learn from timers,
	// a moment later.
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
