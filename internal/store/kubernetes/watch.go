package kubernetes

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"credbus/internal/store"
	"credbus/subjects"
)

// Bounds of a watch.
const (
	// watchTime is how long the API server reports changes to one request. It
	// ends the request with a bookmark, from which the next one continues.
	watchTime = 30 * time.Second
	// watchSlack is how much later the watch gives up a request that the server
	// did not end: its connection is dead.
	watchSlack = 5 * time.Second
	// openTimeout is how long a request may wait for its answer to begin.
	openTimeout = 5 * time.Second
	// An interrupted watch tries to continue for watchOutage, with pauses that
	// grow between these bounds. Then its caller decides.
	watchOutage   = time.Minute
	shortestPause = 100 * time.Millisecond
	longestPause  = 5 * time.Second
)

// watch follows the Secrets' metadata. It transfers no values.
type watch struct {
	store   *Store
	changed func(store.Change)

	stands bool   // All was reported, and nothing was missed since
	at     string // the resource version that it has seen, "" if none
}

// Watch implements [store.Watcher]. After an interruption it continues by
// itself: from where it stopped if the API server still has the later changes,
// otherwise with All.
func (s *Store) Watch(ctx context.Context, changed func(store.Change)) error {
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	w := &watch{store: s, changed: changed}
	heard, pause := time.Now(), shortestPause
	for {
		before := w.at
		err := w.follow(ctx)
		if err == nil || w.at != before {
			heard, pause = time.Now(), shortestPause
		}
		switch {
		case ctx.Err() != nil:
			return s.failed(ctx, "watch", ctx.Err())
		case err == nil:
			continue
		case isExpired(err):
			w.stands, w.at = false, ""
		case !w.stands, !isTransient(err), time.Since(heard) > watchOutage:
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
}

func isTransient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout)
}

// isExpired reports whether the API server no longer has the changes after the
// requested resource version.
func isExpired(err error) bool {
	return (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) && !apierrors.IsUnexpectedServerError(err)
}

// follow makes one request and reports the changes. It returns nil if the
// request worked for a while.
func (w *watch) follow(parent context.Context) error {
	s := w.store
	if w.at == "" {
		list, err := s.api.list(parent, s.selector(subjects.Root), 1, "")
		if err != nil {
			return s.failed(parent, "list", err)
		}
		w.at = list.ResourceVersion
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(parent, s.watchTime+watchSlack)
	defer cancel()
	late := time.AfterFunc(openTimeout, cancel)
	events, err := s.api.watch(ctx, s.selector(subjects.Root), w.at, s.watchTime)
	if err == nil && !late.Stop() {
		events.Stop()
		err = errSilent
	}
	if err != nil {
		return w.interrupted(parent, err)
	}
	defer events.Stop()
	if !w.stands {
		w.changed(store.Change{All: true})
		w.stands = true
	}
	for event := range events.ResultChan() {
		if ctx.Err() != nil {
			break // a change not reported must not be skipped
		}
		if event.Type == apiwatch.Error {
			return w.interrupted(parent, apierrors.FromObject(event.Object))
		}
		partial, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return w.interrupted(parent, errNoAnswer)
		}
		if event.Type != apiwatch.Bookmark {
			w.tell(ctx, event.Type, &partial.ObjectMeta)
		}
		w.at = partial.ResourceVersion
	}
	switch {
	case ctx.Err() != nil:
		return w.interrupted(parent, errSilent)
	case time.Since(begun) < s.watchTime/2:
		return w.interrupted(parent, errEnded)
	}
	return nil
}

var (
	errSilent = errors.New("the API server does not answer a watch, or the connection is dead")
	errEnded  = errors.New("the watch ended too early") // as by an API server that restarts
)

// interrupted returns the error of a request that did not end as planned.
func (w *watch) interrupted(parent context.Context, err error) error {
	w.store.api.closeIdle() // which may be dead too
	if isExpired(err) || parent.Err() != nil {
		return err
	}
	return w.store.explain("watch", err)
}

// tell reports the change of an event.
func (w *watch) tell(ctx context.Context, kind apiwatch.EventType, meta *metav1.ObjectMeta) {
	o, err := w.store.read(meta)
	if err != nil {
		// Its key is unknown, but it may have been a credential.
		if writtenBefore(meta) {
			w.changed(store.Change{All: true})
		}
		return
	}
	change := store.Change{Target: o.rec.Target}
	if kind == apiwatch.Deleted || meta.DeletionTimestamp != nil {
		change.Gone = true
		w.changed(change)
		return
	}
	rec, _, err := w.store.look(ctx, meta)
	switch {
	case err != nil: // cannot be read, at least at the moment
	case rec == nil:
		change.Gone = true
	case rec.Damaged == "":
		change.Version, change.WriteID = rec.Version, rec.WriteID
	}
	w.changed(change)
}
