package worker

import (
	"context"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/store"
)

// watchPause is the pause after a watch of the store failed.
const watchPause = 10 * time.Second

// watchStore hands the changes that a store reports to the replica, until ctx
// ends. A change that no worker made drops the credential from this cache at
// once, and becomes an event.
func (w *Worker) watchStore(ctx context.Context, name string, watcher store.Watcher) {
	begun := false
	for {
		err := watcher.Watch(ctx, func(change store.Change) {
			switch {
			case change.All:
				w.replica.ChangedAll(name)
				if begun { // it may be a different store now
					w.recheck.Store(true)
				}
				begun = true
			case w.store.Name(change.Scope) != name:
				// Another store keeps the scope, so nobody reads this one.
			case change.Gone:
				w.replica.Changed(change.Target, "")
			case change.Version == "":
				w.replica.Changed(change.Target, coherence.Unreadable)
			default:
				w.replica.Changed(change.Target, change.Version)
			}
		})
		if ctx.Err() != nil {
			return
		}
		w.logger.Warn("the store cannot be watched: changes made by others than workers become visible only after the cache's TTL", "store", name, "error", err, "retry", watchPause)
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return
		}
	}
}
