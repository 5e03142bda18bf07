package worker

import (
	"context"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// watchPause is how long after a watch of the store failed it is tried again.
const watchPause = 10 * time.Second

// watchStore hands what a store tells of changes to the protocol, until ctx
// ends: those that no worker made are dropped here at once, and become events.
func (w *Worker) watchStore(ctx context.Context, name string, watcher store.Watcher) {
	begun := false
	for {
		err := watcher.Watch(ctx, func(change store.Change) {
			switch {
			case change.All:
				w.replica.ChangedAll(name)
				if begun { // it may be another store now
					w.recheck.Store(true)
				}
				begun = true
			case w.store.Name(change.Scope) != name:
				// Another store keeps the scope, and nobody reads this one's.
			case change.Gone:
				w.replica.Changed(subjects.Target(change.Key), "")
			case change.Version == "":
				w.replica.Changed(subjects.Target(change.Key), coherence.Unreadable)
			default:
				w.replica.Changed(subjects.Target(change.Key), change.Version)
			}
		})
		if ctx.Err() != nil {
			return
		}
		w.logger.Warn("the store cannot be watched: what is changed in it by others than workers is seen when the cache's TTL has passed", "store", name, "error", err, "retry", watchPause)
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return
		}
	}
}
