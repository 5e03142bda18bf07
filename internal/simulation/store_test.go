//go:build simulation

package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"credbus/internal/history"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// state is the content of the store, and all its earlier content.
type state struct {
	store.Store
	w *world

	mu      sync.Mutex
	commits []history.Commit
	values  map[string]string // by write id: the value that a write stores
	past    map[subjects.Target][]version
}

type version struct {
	at     time.Time
	record *store.Record // nil: absent
}

func newState(w *world) *state {
	return &state{Store: memory.New(), w: w, values: make(map[string]string), past: make(map[subjects.Target][]version)}
}

func (s *state) put(rec *store.Record, pre store.Precondition) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, _ := s.Store.Get(context.Background(), rec.Target)
	v, err := s.Store.Put(context.Background(), rec, pre)
	if err != nil || before != nil && before.WriteID == rec.WriteID {
		return v, err
	}
	s.noteLocked(rec.Target, s.values[rec.WriteID])
	return v, nil
}

func (s *state) remove(key subjects.Target, pre store.Precondition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.Store.Delete(context.Background(), key, pre)
	if err == nil {
		s.noteLocked(key, "")
	}
	return err
}

func (s *state) noteLocked(key subjects.Target, value string) {
	s.commits = append(s.commits, history.Commit{Key: string(key.ID), Value: value, At: s.w.now()})
	rec, _ := s.Store.Get(context.Background(), key)
	s.past[key] = append(s.past[key], version{time.Now(), rec})
}

// get returns what the key held lag ago.
func (s *state) get(key subjects.Target, lag time.Duration) (*store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lag == 0 {
		return s.Store.Get(context.Background(), key)
	}
	var rec *store.Record
	for _, v := range s.past[key] {
		if time.Since(v.at) < lag {
			break
		}
		rec = v.record
	}
	if rec == nil {
		return nil, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	}
	copied := *rec
	copied.Payload = append([]byte(nil), rec.Payload...)
	return &copied, nil
}

// processStore is the store as one process sees it.
type processStore struct {
	store.Store
	state   *state
	process *process
}

// Get implements store.Store. Its answer was true at some moment during the call.
func (s *processStore) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	w := s.state.w
	if err := s.process.pass(); err != nil {
		return nil, err
	}
	there, back := w.storeDelay(), w.storeDelay()
	if there+back > readTimeout {
		w.count("slow_read")
	}
	if err := sleep(ctx, there); err != nil {
		return nil, err
	}
	rec, err := s.state.get(key, w.lag())
	if sleeping := sleep(ctx, back); sleeping != nil {
		return nil, sleeping
	}
	if passing := s.process.pass(); passing != nil {
		return nil, passing
	}
	return rec, err
}

// Put implements store.Store.
func (s *processStore) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	copied := *rec
	return s.change(ctx, func() (string, error) { return s.state.put(&copied, pre) })
}

// Delete implements store.Store.
func (s *processStore) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	_, err := s.change(ctx, func() (string, error) { return "", s.state.remove(key, pre) })
	return err
}

// writeBegun is the context key of the time when a process got a write, before it announced it.
type writeBegun struct{}

// change carries out a write. If it takes too long, its caller gives up, and the write takes
// effect all the same, or never.
func (s *processStore) change(ctx context.Context, land func() (version string, err error)) (string, error) {
	w := s.state.w
	if err := s.process.pass(); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if w.crashes(s.process, "before_store") {
		return "", errCrashed
	}
	type landed struct {
		version string
		err     error
	}
	done := make(chan landed, 1)
	// A hold counts from the announcement. A strict write may have waited since then.
	limit, last := s.process.writeTimeout, s.process.hold
	if begun, ok := ctx.Value(writeBegun{}).(time.Time); ok {
		last -= time.Since(begun)
	}
	takes := min(w.storeDelay(), limit+overtime-10*time.Millisecond)
	if w.chance(w.faults.late) {
		w.count("late_write")
		takes = limit + time.Duration(w.float()*float64(max(0, last-limit))) - 10*time.Millisecond
	}
	never := takes > limit && w.chance(0.3)
	go func() {
		time.Sleep(takes)
		if never {
			return
		}
		version, err := land()
		time.Sleep(w.quick())
		done <- landed{version, err}
	}()
	select {
	case l := <-done:
		if w.crashes(s.process, "after_store") {
			return "", errCrashed
		}
		if passing := s.process.pass(); passing != nil {
			return "", passing
		}
		return l.version, l.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
