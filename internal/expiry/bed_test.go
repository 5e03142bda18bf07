package expiry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"credbus/internal/expiry"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

const (
	scope = subjects.Scope("org:acme/team:eng")
	day   = 24 * time.Hour
)

var ahead = []time.Duration{7 * day, day}

// world is a store, and the streams of events and of marks in memory. It ignores
// contexts: what a worker sends may arrive however late.
type world struct {
	store *memory.Store
	logs  *bytes.Buffer

	mu     sync.Mutex
	stream uint64
	seq    uint64
	events []entry // that are still in the stream
	told   []entry // all that were ever published, by workers and by watches
	marks  map[subjects.Target]expiry.Mark
	places uint64
	claim  time.Time
	sweeps []time.Time
}

type entry struct {
	at subjects.Revision
	subjects.Event
}

func newWorld(t *testing.T) *world {
	w := &world{store: memory.New(), logs: new(bytes.Buffer), stream: 1, marks: make(map[subjects.Target]expiry.Mark)}
	t.Cleanup(func() { w.store.Close(context.Background()) })
	return w
}

// write stores a credential and, as a worker does after that, its event.
func (w *world) write(t *testing.T, id string, left time.Duration) (version string) {
	t.Helper()
	version = putRecord(t, w.store, id, left)
	w.publish(subjects.Event{Kind: subjects.EventStored, Target: target(id), Version: version})
	return version
}

func (w *world) remove(t *testing.T, id string) {
	t.Helper()
	if err := w.store.Delete(t.Context(), target(id), store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	w.publish(subjects.Event{Kind: subjects.EventDeleted, Target: target(id)})
}

var writes int

func putRecord(t *testing.T, s store.Store, id string, left time.Duration) (version string) {
	t.Helper()
	writes++
	record := &store.Record{Target: target(id), WriteID: fmt.Sprint("w", writes), Payload: []byte("sealed")}
	if left != 0 {
		record.Expires = time.Now().Add(left).UTC().Truncate(time.Millisecond)
	}
	version, err := s.Put(t.Context(), record, store.Precondition{})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func target(id string) subjects.Target { return subjects.Target{Scope: scope, ID: subjects.ID(id)} }

func (w *world) publish(event subjects.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.publishLocked(event)
}

func (w *world) publishLocked(event subjects.Event) {
	w.seq++
	e := entry{subjects.Revision{Stream: w.stream, Seq: w.seq}, event}
	w.events, w.told = append(w.events, e), append(w.told, e)
}

// recreate deletes the stream of events, and makes it anew.
func (w *world) recreate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stream, w.seq, w.events = w.stream+1, 0, nil
}

// forget removes all events, as their age does.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
}

func (w *world) End(context.Context) (subjects.Revision, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweeps = append(w.sweeps, time.Now())
	return subjects.Revision{Stream: w.stream, Seq: w.seq}, nil
}

func (w *world) lastLocked(key subjects.Target) subjects.Revision {
	last := subjects.Revision{Stream: w.stream}
	for _, e := range w.events {
		if e.Target == key {
			last = e.at
		}
	}
	return last
}

func (w *world) Last(_ context.Context, key subjects.Target) (subjects.Revision, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastLocked(key), nil
}

func (w *world) Holds(_ context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.at.Compare(after) > 0 && e.Event == *event {
			return true, nil
		}
	}
	return false, nil
}

func (w *world) Tell(_ context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lastLocked(event.Target).Seq != after.Seq {
		return false, nil
	}
	w.publishLocked(*event)
	return true, nil
}

func (w *world) Claim(_ context.Context, every time.Duration) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wait := every - time.Since(w.claim); wait > 0 {
		return wait, nil
	}
	w.claim = time.Now()
	return 0, nil
}

func (w *world) Get(_ context.Context, key subjects.Target) (expiry.Mark, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[key], nil
}

func (w *world) Put(_ context.Context, key subjects.Target, mark *expiry.Mark) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.marks[key].Place != mark.Place {
		return 0, nil
	}
	w.places++
	next := *mark
	next.Place, next.Put = w.places, time.Now()
	w.marks[key] = next
	return next.Place, nil
}

// watch is the watch of one worker.
func (w *world) watch(name string) *expiry.Watch { return w.through(name, w, w) }

func (w *world) through(name string, events expiry.Events, marks expiry.Marks) *expiry.Watch {
	return expiry.New(expiry.Config{
		Stores: map[string]expiry.Lister{"default": w.store}, Events: events, Marks: marks, Worker: name, Ahead: ahead,
		Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
	})
}

func sweep(t *testing.T, w *expiry.Watch) {
	t.Helper()
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// tellings counts the published expiry events, by credential, version and threshold.
func (w *world) tellings() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return countTellings(w.told)
}

func countTellings(told []entry) map[string]int {
	counts := make(map[string]int)
	for _, e := range told {
		if e.Kind == subjects.EventExpiring || e.Kind == subjects.EventExpired {
			counts[telling(string(e.ID), e.Version, threshold(&e.Event))]++
		}
	}
	return counts
}

func telling(id, version, threshold string) string { return id + " " + version + " " + threshold }

// threshold is what an event was due for when it was found.
func threshold(event *subjects.Event) string {
	left := event.Expires.Sub(event.At)
	switch {
	case event.Kind == subjects.EventExpired && left <= 0:
		return "expired"
	case event.Kind == subjects.EventExpiring && left > 0 && left <= day:
		return "day"
	case event.Kind == subjects.EventExpiring && left > 0 && left <= 7*day:
		return "week"
	}
	return fmt.Sprintf("wrong: %+v", *event)
}

// wantOnce fails unless exactly these were published, each once.
func wantOnce(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, one := range want {
		if got[one] != 1 {
			t.Errorf("%s was published %d times", one, got[one])
		}
	}
	if len(got) != len(want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

var errKilled = errors.New("killed")

// fault stops a worker after a number of steps: for good, or until it is resumed.
type fault struct {
	*world
	after  int
	pause  chan struct{} // nil: for good
	mu     sync.Mutex
	steps  int
	paused chan struct{} // closed when the worker stops
}

// step runs do as one step, and stops the worker before or after it.
func step[T any](f *fault, do func() (T, error)) (result T, err error) {
	f.mu.Lock()
	f.steps++
	n := f.steps
	f.mu.Unlock()
	if f.pause == nil && n > f.after {
		return result, errKilled
	}
	result, err = do()
	if n != f.after {
		return result, err
	}
	close(f.paused)
	if f.pause == nil {
		var none T
		return none, errKilled
	}
	<-f.pause
	return result, err
}

func (f *fault) End(ctx context.Context) (subjects.Revision, error) {
	return step(f, func() (subjects.Revision, error) { return f.world.End(ctx) })
}

func (f *fault) Last(ctx context.Context, key subjects.Target) (subjects.Revision, error) {
	return step(f, func() (subjects.Revision, error) { return f.world.Last(ctx, key) })
}

func (f *fault) Holds(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	return step(f, func() (bool, error) { return f.world.Holds(ctx, event, after) })
}

func (f *fault) Tell(ctx context.Context, event *subjects.Event, after subjects.Revision) (bool, error) {
	return step(f, func() (bool, error) { return f.world.Tell(ctx, event, after) })
}

func (f *fault) Get(ctx context.Context, key subjects.Target) (expiry.Mark, error) {
	return step(f, func() (expiry.Mark, error) { return f.world.Get(ctx, key) })
}

func (f *fault) Put(ctx context.Context, key subjects.Target, mark *expiry.Mark) (uint64, error) {
	return step(f, func() (uint64, error) { return f.world.Put(ctx, key, mark) })
}
