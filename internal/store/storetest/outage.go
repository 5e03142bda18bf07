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
)

// FaultHarness is a store whose backend is a process of its own, which the
// suite may stop. A testbed.Server that was made by Start gives all of it.
type FaultHarness struct {
	// Open returns an empty store as a worker has it: the driver with the policy
	// for faults in front of it. The suite closes it.
	Open func(t *testing.T) store.Store

	// Pause stops the backend so that it holds its connections and answers
	// nothing; Resume lets it go on.
	Pause, Resume func(t *testing.T)
	// Kill ends the backend without any notice; Restart starts it again where it
	// was, with what it had made durable.
	Kill, Restart func(t *testing.T)

	// ReadWithin and WriteWithin are how long a call may take that the backend
	// does not answer: the policy's timeouts. 0 means its defaults, 5 s and 10 s.
	ReadWithin, WriteWithin time.Duration
	// RecoversWithin is how long the store may fail when its backend is back; 0
	// means 20 s, within which a breaker probes and connections are made anew.
	RecoversWithin time.Duration

	Features Features // Native is all that matters here
}

// slack is for a machine that does other work besides.
const slack = time.Second

// RunFaults asks how a store bears that its backend stops, with one store open
// throughout each question, so that it recovers by itself:
//
//	a call ends in time, with store.ErrUnavailable or store.ErrTimeout;
//	a write whose outcome is not known is told as such, and as nothing surer;
//	what was acknowledged is there afterwards, at its version;
//	a write of unknown outcome took effect whole or not at all, and can be repeated.
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
			defer s.Close()
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

// outage is err of a call that the backend did not answer. It reports whether
// the store was asked at all, in which case nobody knows what it did.
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

// recovered waits until the store reads and writes again, for each of which a policy may
// have a breaker: one that opened late refuses for a while when the backend is back.
func (s *subject) recovered(key store.Key, within time.Duration) {
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

// askOutage makes calls of all kinds while the backend is gone.
func askOutage(s *subject, h FaultHarness, begin, end func(t *testing.T)) {
	kept, replaced, created, deleted := keyOf("org:acme", "kept"), keyOf("org:acme", "replaced"), keyOf("org:acme", "created"), keyOf("org:acme", "deleted")
	before := make(map[store.Key]*store.Record)
	for _, key := range []store.Key{kept, replaced, deleted} {
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
	// The writes go side by side: each may take all of its time.
	asked := make(chan struct {
		key   store.Key
		asked bool
	}, 3)
	write := func(what string, key store.Key, call func() error) {
		asked <- struct {
			key   store.Key
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
	unknown := make(map[store.Key]bool)
	for range cap(asked) {
		write := <-asked
		unknown[write.key] = write.asked
	}
	end(s.T)
	s.recovered(kept, h.RecoversWithin)

	s.holds(before[kept], before[kept].Version)
	// What was sent may land when the backend goes on, and no later than a write
	// that follows it.
	s.holds(before[kept], s.put(before[kept], store.Precondition{}))
	for _, rec := range []*store.Record{replacing, creating} {
		old := before[rec.Key]
		current, err := s.Get(s.ctx, rec.Key)
		switch {
		case errors.Is(err, store.ErrNotFound) && old == nil:
		case err != nil:
			s.Fatalf("Get of what was written meanwhile: %v", err)
		case current.WriteID == rec.WriteID && !unknown[rec.Key]:
			s.Errorf("%v was written, though the store had not been asked", rec.Key)
		case current.WriteID == rec.WriteID:
			s.holds(rec, current.Version)
		default:
			s.holds(old, old.Version)
		}
		// The write is repeated, as its caller does, and takes effect once.
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

// askKilledUnderWrites kills the backend while records are written. Each that
// was acknowledged is there, each that was not can be written again.
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
	s.recovered(all[0].rec.Key, h.RecoversWithin)
	for _, w := range all {
		s.holds(w.rec, w.version)
	}
	close(unknown) // every writer has ended
	for rec := range unknown {
		version := ""
		if current, err := s.Get(s.ctx, rec.Key); err == nil { // it did land
			version = current.Version
			s.holds(rec, version)
		} else if !errors.Is(err, store.ErrNotFound) {
			s.Errorf("Get of what was written meanwhile: %v", err)
		}
		repeated := s.put(rec, store.Precondition{Absent: true})
		if s.holds(rec, repeated); version != "" && repeated != version {
			s.Errorf("one write was given the versions %q and %q", version, repeated)
		}
	}
	s.Logf("%d writes were acknowledged before the backend was killed", len(all))
}

// askClosedWhilePaused closes the store while calls wait for a backend that does not
// answer. Neither Close nor the calls wait longer than a call may.
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
	operations := s.operations(s.record(rec.Key))
	ends := make(chan end, len(operations)+1)
	for what, operation := range operations {
		go func() { ends <- end{what, operation(s.ctx)} }()
	}
	time.Sleep(50 * time.Millisecond) // most calls wait for the backend then; the rest find the store closed
	go func() { ends <- end{"Close", s.Close()} }()
	limit := time.NewTimer(max(h.ReadWithin, h.WriteWithin) + slack)
	defer limit.Stop()
	for range cap(ends) {
		select {
		case end := <-ends:
			s.Logf("%s after %v: %v", end.what, time.Since(begun).Round(time.Millisecond), end.err)
			if end.what != "Close" && end.err == nil {
				s.Errorf("%s without a backend succeeded", end.what)
			}
		case <-limit.C:
			resume()
			s.Fatalf("%v after the store was closed something still waits for the backend", time.Since(begun))
		}
	}
}
