package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// FaultHarness is a store whose backend is a separate process, which the suite
// may stop. A testbed.Server made by Start provides everything.
type FaultHarness struct {
	// Open returns an empty store as in a worker: the driver with the policy
	// for faults in front of it. The suite closes it.
	Open func(t *testing.T) store.Store

	// Pause stops the backend so that it keeps its connections but answers
	// nothing; Resume lets it continue.
	Pause, Resume func(t *testing.T)
	// Kill ends the backend without notice; Restart starts it again at the same
	// address, with its durable state.
	Kill, Restart func(t *testing.T)

	// ReadWithin and WriteWithin bound a call without an answer of the backend:
	// the policy's timeouts. 0 means its defaults, 5 s and 10 s.
	ReadWithin, WriteWithin time.Duration
	// RecoversWithin is how long the store may fail after its backend is back;
	// 0 means 20 s, enough for a breaker's probe and new connections.
	RecoversWithin time.Duration

	Features Features // only Native matters here
}

// slack is for a busy machine.
const slack = time.Second

// RunFaults tests a store whose backend stops. One store stays open throughout
// each question, so it must recover by itself:
//
//	a call ends in time, with store.ErrUnavailable or store.ErrTimeout;
//	a write with an unknown outcome is reported as such, not as certain;
//	acknowledged writes exist afterwards, at their versions;
//	a write with an unknown outcome took effect whole or not at all, and can be repeated.
func RunFaults(t *testing.T, h FaultHarness) {
	t.Helper()
	h.ReadWithin = orDefault(h.ReadWithin, 5*time.Second)
	h.WriteWithin = orDefault(h.WriteWithin, 10*time.Second)
	h.RecoversWithin = orDefault(h.RecoversWithin, 20*time.Second)
	for _, question := range []struct {
		name string
		ask  func(*subject, FaultHarness)
	}{
		{"Paused", func(s *subject, h FaultHarness) { askOutage(s, h, h.Pause, h.Resume) }},
		{"Killed", func(s *subject, h FaultHarness) { askOutage(s, h, h.Kill, h.Restart) }},
		{"KilledUnderWrites", askKilledUnderWrites},
		{"ClosedWhilePaused", askClosedWhilePaused},
	} {
		t.Run(question.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), questionTimeout)
			defer cancel()
			s := &subject{T: t, Store: h.Open(t), Harness: Harness{Features: h.Features}, ctx: ctx}
			defer s.close()
			question.ask(s, h)
		})
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// outage checks err of a call without an answer of the backend. It reports
// whether the store got the call at all, in which case the outcome is unknown.
func (s *subject) outage(what string, err error, took, within time.Duration) (asked bool) {
	s.Helper()
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrTimeout) {
		s.Errorf("%s without a backend: %v, want ErrUnavailable or ErrTimeout", what, err)
	}
	for _, surer := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrRepeated, store.ErrPermission, store.ErrDamaged, store.ErrFull, store.ErrClosed} {
		if errors.Is(err, surer) {
			s.Errorf("%s without a backend: %v, which says %q", what, err, surer)
		}
	}
	if took > within+slack {
		s.Errorf("%s without a backend took %v, want at most %v: %v", what, took, within, err)
	}
	s.Logf("%s without a backend, after %v: %v", what, took.Round(time.Millisecond), err)
	return !errors.Is(err, store.ErrOpen)
}

// recovered waits until the store reads and writes again. A policy may have a
// breaker for each, and one that opened late still refuses for a while after
// the backend is back.
func (s *subject) recovered(key subjects.Target, within time.Duration) {
	s.Helper()
	begun := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	probe := s.record(keyOf("org:recovered", "probe"))
	for {
		_, err := s.Get(s.ctx, key)
		if err == nil {
			_, err = s.Put(s.ctx, probe, store.Precondition{})
		}
		if err == nil {
			s.Logf("recovered after %v", time.Since(begun).Round(time.Millisecond))
			return
		}
		if time.Since(begun) > within || s.ctx.Err() != nil {
			s.Fatalf("%v after the backend is back: %v", time.Since(begun), err)
		}
		<-tick.C
	}
}

// askOutage makes calls of all kinds without the backend.
func askOutage(s *subject, h FaultHarness, begin, end func(t *testing.T)) {
	kept, replaced, created, deleted := keyOf("org:acme", "kept"), keyOf("org:acme", "replaced"), keyOf("org:acme", "created"), keyOf("org:acme", "deleted")
	before := make(map[subjects.Target]*store.Record)
	for _, key := range []subjects.Target{kept, replaced, deleted} {
		before[key] = s.record(key)
		before[key].Version = s.put(before[key], store.Precondition{})
	}
	replacing, creating := s.record(replaced), s.record(created)

	begin(s.T)
	timed := func(what string, within time.Duration, call func() error) (asked bool) {
		s.Helper()
		begun := time.Now()
		err := call()
		return s.outage(what, err, time.Since(begun), within)
	}
	timed("Get", h.ReadWithin, func() error { _, err := s.Get(s.ctx, kept); return err })
	timed("List", h.ReadWithin, func() error { _, err := s.List(s.ctx, store.ListOptions{Limit: 10}); return err })
	// The writes run concurrently: each may take all of its time.
	asked := make(chan struct {
		key   subjects.Target
		asked bool
	}, 3)
	write := func(what string, key subjects.Target, call func() error) {
		asked <- struct {
			key   subjects.Target
			asked bool
		}{key, timed(what, h.WriteWithin, call)}
	}
	go write("replacing Put", replaced, func() error {
		_, err := s.Put(s.ctx, replacing, store.Precondition{Version: before[replaced].Version})
		return err
	})
	go write("creating Put", created, func() error {
		_, err := s.Put(s.ctx, creating, store.Precondition{Absent: true})
		return err
	})
	go write("Delete", deleted, func() error {
		return s.Delete(s.ctx, deleted, store.Precondition{Version: before[deleted].Version})
	})
	unknown := make(map[subjects.Target]bool)
	for range cap(asked) {
		write := <-asked
		unknown[write.key] = write.asked
	}
	end(s.T)
	s.recovered(kept, h.RecoversWithin)

	s.holds(before[kept], before[kept].Version)
	// Sent writes may take effect when the backend continues, but no later than
	// a write that follows.
	s.holds(before[kept], s.put(before[kept], store.Precondition{}))
	for _, rec := range []*store.Record{replacing, creating} {
		old := before[rec.Target]
		current, err := s.Get(s.ctx, rec.Target)
		switch {
		case errors.Is(err, store.ErrNotFound) && old == nil:
		case err != nil:
			s.Fatalf("Get of a record written meanwhile: %v", err)
		case current.WriteID == rec.WriteID && !unknown[rec.Target]:
			s.Errorf("%v was written, though the store got no call", rec.Target)
		case current.WriteID == rec.WriteID:
			s.holds(rec, current.Version)
		default:
			s.holds(old, old.Version)
		}
		// Repeat the write, as its caller does: it must take effect once.
		version := s.put(rec, store.Precondition{})
		s.holds(rec, version)
		if again := s.put(rec, store.Precondition{}); again != version {
			s.Errorf("one write was given the versions %q and %q", version, again)
		}
	}
	if err := s.Delete(s.ctx, deleted, store.Precondition{}); err != nil && (!errors.Is(err, store.ErrNotFound) || !unknown[deleted]) {
		s.Errorf("Delete after the outage: %v", err)
	}
	s.missing(deleted)
	if listed := s.walk("org:acme", 10); len(listed) != 3 {
		s.Errorf("List shows %d records of 3", len(listed))
	}
}

// askKilledUnderWrites kills the backend during writes. Acknowledged records
// must exist, and the others can be written again.
func askKilledUnderWrites(s *subject, h FaultHarness) {
	const writers, least = 4, 40
	type written struct {
		rec     *store.Record
		version string
	}
	acknowledged, unknown := make(chan []written, writers), make(chan *store.Record, writers)
	enough := make(chan struct{})
	var writes atomic.Int64
	for writer := range writers {
		go func() {
			var done []written
			defer func() { acknowledged <- done }()
			for i := 0; s.ctx.Err() == nil; i++ {
				rec := s.record(keyOf(fmt.Sprintf("org:acme/writer:%d", writer), fmt.Sprint("key-", i)))
				begun := time.Now()
				version, err := s.Put(s.ctx, rec, store.Precondition{})
				if err != nil {
					s.outage("Put", err, time.Since(begun), h.WriteWithin)
					unknown <- rec
					return
				}
				done = append(done, written{rec, version})
				if writes.Add(1) == least {
					close(enough)
				}
			}
		}()
	}
	select {
	case <-enough:
	case <-s.ctx.Done():
		s.Fatalf("only %d writes before the backend is killed", writes.Load())
	}
	h.Kill(s.T)
	var all []written
	for range writers {
		all = append(all, <-acknowledged...)
	}
	h.Restart(s.T)
	s.recovered(all[0].rec.Target, h.RecoversWithin)
	for _, w := range all {
		s.holds(w.rec, w.version)
	}
	close(unknown) // every writer has ended
	for rec := range unknown {
		version := ""
		if current, err := s.Get(s.ctx, rec.Target); err == nil { // the write took effect
			version = current.Version
			s.holds(rec, version)
		} else if !errors.Is(err, store.ErrNotFound) {
			s.Errorf("Get of a record written meanwhile: %v", err)
		}
		repeated := s.put(rec, store.Precondition{Absent: true})
		if s.holds(rec, repeated); version != "" && repeated != version {
			s.Errorf("one write was given the versions %q and %q", version, repeated)
		}
	}
	s.Logf("%d writes were acknowledged before the backend was killed", len(all))
}

// askClosedWhilePaused closes the store while calls wait for a backend that
// does not answer. Neither Close nor the calls may wait longer than the bounds
// of a call.
func askClosedWhilePaused(s *subject, h FaultHarness) {
	rec := s.record(keyOf("org:acme", "key"))
	s.put(rec, store.Precondition{})
	h.Pause(s.T)
	resume := sync.OnceFunc(func() { h.Resume(s.T) })
	defer resume()
	begun := time.Now()
	type end struct {
		what string
		err  error
	}
	operations := s.operations(s.record(rec.Target))
	ends := make(chan end, len(operations)+1)
	const patience = 50 * time.Millisecond
	for what, operation := range operations {
		go func() { ends <- end{what, operation(s.ctx)} }()
	}
	time.Sleep(50 * time.Millisecond) // then most calls wait for the backend; the others find the store closed
	short, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := s.Close(short); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("Close for %v: %v", patience, err)
	}
	if took := time.Since(begun); took > slack {
		s.Errorf("Close for %v took %v", patience, took)
	}
	go func() { ends <- end{"Close", s.Close(s.ctx)} }()
	limit := time.NewTimer(max(h.ReadWithin, h.WriteWithin) + slack)
	defer limit.Stop()
	for range cap(ends) {
		select {
		case end := <-ends:
			s.Logf("%s after %v: %v", end.what, time.Since(begun).Round(time.Millisecond), end.err)
			if succeeds := end.what == "Close"; succeeds != (end.err == nil) {
				s.Errorf("%s without a backend: %v", end.what, end.err)
			}
		case <-limit.C:
			resume()
			s.Fatalf("%v after the store was closed, a goroutine still waits for the backend", time.Since(begun))
		}
	}
}
