package memory

import (
	"context"

	"credbus/internal/store"
)

// watch holds the changes that a call of Watch has not reported yet.
type watch struct {
	untold []store.Change // guarded by the store's mu
	woken  chan struct{}
}

// mostUntold bounds the changes for a slow caller: beyond it, All replaces
// them.
const mostUntold = 10_000

func (w *watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (s *Store) announceLocked(change store.Change) {
	for w := range s.watches {
		if len(w.untold) >= mostUntold {
			w.untold = append(w.untold[:0], store.Change{All: true})
			continue
		}
		w.untold = append(w.untold, change)
		w.wake()
	}
}

// Watch implements [store.Watcher].
func (s *Store) Watch(ctx context.Context, changed func(store.Change)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	w := &watch{untold: []store.Change{{All: true}}, woken: make(chan struct{}, 1)}
	s.watches[w] = struct{}{}
	s.watching.Add(1)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
		s.watching.Done()
	}()
	for {
		if err := s.begin(ctx); err != nil {
			return err
		}
		untold := w.untold
		w.untold = nil
		s.mu.Unlock()
		for _, change := range untold {
			if err := ctx.Err(); err != nil {
				return err
			}
			changed(change)
		}
		if len(untold) > 0 {
			continue
		}
		select {
		case <-w.woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
