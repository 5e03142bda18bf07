package manager_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// gates is a store whose answers and writes a test can hold back.
type gates struct {
	*storetest.Faults

	mu                  sync.Mutex
	afterGet, beforePut chan struct{} // nil: open
}

func (g *gates) closeGet() (open func()) { return g.shut(&g.afterGet) }
func (g *gates) closePut() (open func()) { return g.shut(&g.beforePut) }

// shut closes a gate for the calls that come before open is called.
func (g *gates) shut(gate *chan struct{}) (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	*gate = shut
	return func() { g.let(gate); close(shut) }
}

// let opens a gate for the calls that come from now on.
func (g *gates) let(gate *chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*gate = nil
}

func (g *gates) pass(gate *chan struct{}) {
	g.mu.Lock()
	shut := *gate
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

func (g *gates) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	record, err := g.Faults.Get(ctx, key)
	g.pass(&g.afterGet)
	return record, err
}

func (g *gates) Put(ctx context.Context, record *store.Record, pre store.Precondition) (string, error) {
	g.pass(&g.beforePut)
	return g.Faults.Put(ctx, record, pre)
}

// pair is a writer and a reader, replicas of one deployment.
type pair struct {
	writer, reader         *bed
	writerStore, readStore *gates
	log                    *coherencetest.Log
	at                     subjects.Target
}

func newPair(t *testing.T) *pair {
	t.Helper()
	shared, ring := memory.New(), keyring(t)
	same := func(c *manager.Config) { c.Keyring, c.NegativeCaching = ring, true }
	p := &pair{log: coherencetest.NewLog(), at: target("org:acme/team:eng", "db")}
	p.writerStore, p.readStore = &gates{Faults: storetest.NewFaults(shared)}, &gates{Faults: storetest.NewFaults(shared)}
	p.writer, p.reader = newBed(t, p.writerStore, p.log, same), newBed(t, p.readStore, p.log, same)
	return p
}

// asked is a running read.
type asked struct {
	done  chan struct{}
	value string // "" for none
}

// ask begins a read, and waits until it is blocked or done.
func (p *pair) ask(t *testing.T) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		reply, err := p.reader.retrieve(t.Context(), subjects.RetrieveItem{Target: p.at}, subjects.Revision{})
		switch {
		case err == nil:
			a.value = string(reply.Data[subjects.ValueName].Bytes())
		case told(err) != subjects.NotFound:
			t.Error(err)
		}
	}()
	synctest.Wait()
	return a
}

// answers fails unless a read has ended, with that value.
func (a *asked) answers(t *testing.T, what, want string) {
	t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
		if a.value != want {
			t.Errorf("%s got %q, want %q", what, a.value, want)
		}
	default:
		t.Errorf("%s waits for another reader's read of the store", what)
	}
}

func (p *pair) cached(t *testing.T, when string, entries, negative int) {
	t.Helper()
	synctest.Wait()
	if s := p.reader.cache.Stats(); s.Entries != entries || s.Negative != negative {
		t.Errorf("%s %d entries are cached, %d of them negative; want %d and %d", when, s.Entries, s.Negative, entries, negative)
	}
}

// write begins a write on the other replica, and waits until it is blocked or
// done.
func (p *pair) write(t *testing.T, value string) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		p.writer.store(t, p.at, value)
	}()
	synctest.Wait()
	return done
}

// end waits for a write, and until the reader has applied it.
func end(done chan struct{}) {
	<-done
	synctest.Wait()
}

// Joining a flight that began before an invalidation, or between intent and
// commit: readers that come during or after the write must not get what a
// flight from before the write read, nor is that cached.
func TestNoJoiningAFlightAcrossAForeignWrite(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.writer.store(t, p.at, "old")
		synctest.Wait()
		answer := p.readStore.closeGet()
		before := p.ask(t)
		p.readStore.let(&p.readStore.afterGet) // for all later readers

		commit := p.writerStore.closePut()
		written := p.write(t, "new")
		reads := p.readStore.Calls(storetest.Get)
		for range 2 {
			p.ask(t).answers(t, "a reader between intent and commit", "old")
		}
		if n := p.readStore.Calls(storetest.Get) - reads; n != 2 {
			t.Errorf("2 readers between intent and commit made %d reads of the store", n)
		}
		p.cached(t, "between intent and commit", 0, 0)
		commit()
		end(written)
		p.ask(t).answers(t, "a reader after the write", "new")
		p.cached(t, "after the write", 1, 0)
		answer()
		before.answers(t, "the reader that came before the write", "old")
		reads = p.readStore.Calls(storetest.Get)
		p.ask(t).answers(t, "a reader at the end", "new")
		if n := p.readStore.Calls(storetest.Get) - reads; n != 0 {
			t.Error("the entry cached after the write is gone")
		}
	})
}

// Readers between intent and commit must not share a flight either: one of them
// may begin after the commit, which it must see.
func TestNoSharingWhileAWriteIsUnderWay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.writer.store(t, p.at, "old")
		synctest.Wait()
		commit := p.writerStore.closePut()
		written := p.write(t, "new")
		answer := p.readStore.closeGet()
		during := p.ask(t)
		p.readStore.let(&p.readStore.afterGet)
		p.log.Hold(p.reader.replica.Name()) // the done arrives late here
		commit()
		end(written)
		p.ask(t).answers(t, "a reader after the commit", "new")
		answer()
		during.answers(t, "a reader from between intent and commit", "old")
		p.cached(t, "while the key is held", 0, 0)
		p.log.Release()
		synctest.Wait()
		p.ask(t).answers(t, "a reader after the done", "new")
		p.cached(t, "after the done", 1, 0)
	})
}

// A partitioned replica with a reachable store: after its lease every read goes
// to the store separately, and none fills the cache.
func TestPartitionedReplicaReadsTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.writer.store(t, p.at, "old")
		synctest.Wait()
		p.ask(t).answers(t, "the first reader", "old")
		p.log.Hold(p.reader.replica.Name())
		p.writer.store(t, p.at, "new")
		p.ask(t).answers(t, "within the lease, from the cache,", "old")
		time.Sleep(coherence.DefaultLease)
		if _, _, ok := p.reader.Hit(nil, []byte(p.at.Scope), []byte(p.at.ID), nil); ok {
			t.Error("past its lease it answers from its cache")
		}
		reads := p.readStore.Calls(storetest.Get)
		open := p.readStore.closeGet()
		var readers []*asked
		for range 3 {
			readers = append(readers, p.ask(t))
			time.Sleep(time.Second) // they may first wait for a lease
		}
		if n := p.readStore.Calls(storetest.Get) - reads; n != 3 {
			t.Errorf("3 readers past the lease made %d reads of the store", n)
		}
		open()
		for _, r := range readers {
			r.answers(t, "past the lease", "new")
		}
		p.log.Release()
		synctest.Wait()
		p.ask(t).answers(t, "back on the log", "new")
		if err := p.reader.replica.AwaitTrust(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.ask(t).answers(t, "with a lease again", "new")
		p.cached(t, "with a lease again", 1, 0)
	})
}

// Fill at the writer against a foreign write: a writer does not cache its own
// write. The next read loads it.
func TestWriterFillsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.reader = p.writer
		p.writer.store(t, p.at, "value")
		p.cached(t, "after a write", 0, 0)
		reads := p.writerStore.Calls(storetest.Get)
		for range 3 {
			p.ask(t).answers(t, "a reader after the write", "value")
			p.cached(t, "after a read", 1, 0)
		}
		if n := p.writerStore.Calls(storetest.Get) - reads; n != 1 {
			t.Errorf("3 reads after a write made %d reads of the store, want 1", n)
		}
		p.writer.store(t, p.at, "another")
		p.cached(t, "after another write", 0, 0)
	})
}

// landsLate is a store that gives up a write that still takes effect later.
type landsLate struct {
	store.Store
	after time.Duration
	group sync.WaitGroup
}

func (s *landsLate) Put(ctx context.Context, record *store.Record, pre store.Precondition) (string, error) {
	s.group.Go(func() {
		time.Sleep(s.after)
		_, _ = s.Store.Put(context.WithoutCancel(ctx), record, pre)
	})
	<-ctx.Done()
	return "", ctx.Err()
}

// A write that times out and takes effect late: until that is no longer
// possible, every read goes to the store, so readers see it once it has taken
// effect.
func TestWriteTimesOutAndLandsLate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const limit, lands = 10 * time.Second, 25 * time.Second
		p := newPair(t)
		p.writer.store(t, p.at, "old")
		synctest.Wait()
		p.ask(t).answers(t, "a reader before the write", "old")
		late := &landsLate{Store: p.writerStore, after: lands}
		slow := newBed(t, late, p.log, nil)
		begun := time.Now()
		_, err := slow.Store(t.Context(), &subjects.StoreItem{Target: p.at, Data: subjects.Value([]byte("late"))}, "")
		if told(err) != subjects.StorageTimeout || time.Since(begun) != limit {
			t.Fatalf("%v after %s", err, time.Since(begun))
		}
		opens := func() bool { // it has another keyring, so no reader confuses the values
			_, err := p.reader.retrieve(t.Context(), subjects.RetrieveItem{Target: p.at}, subjects.Revision{})
			return told(err) != subjects.DecryptFailed
		}
		time.Sleep(500 * time.Millisecond)
		for ; time.Since(begun) < 40*time.Second; time.Sleep(time.Second) {
			if old, want := opens(), time.Since(begun) < lands; old != want {
				t.Errorf("%s after the write began a reader sees the old value: %v, want %v", time.Since(begun), old, want)
			}
			if time.Since(begun) < 3*limit {
				p.cached(t, "while the write may still take effect", 0, 0)
			}
		}
		late.group.Wait()
		p.writer.store(t, p.at, "next")
		synctest.Wait()
		p.ask(t).answers(t, "a reader after the next write", "next")
		p.cached(t, "after that", 1, 0)
	})
}

// Negative caching against create: a running read that found nothing must not
// cache that once the create has begun.
func TestAbsenceInFlightAgainstCreate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		answer := p.readStore.closeGet()
		before := p.ask(t)
		p.readStore.let(&p.readStore.afterGet)
		end(p.write(t, "created"))
		answer()
		before.answers(t, "a reader that came before the create", "")
		p.cached(t, "after the create", 0, 0)
		p.ask(t).answers(t, "a reader after the create", "created")
	})
}

// The same, before the replica has received the create: it must not cache an
// absence that is ahead of its applied revision.
func TestAbsenceAheadOfTheLog(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.log.Hold(p.reader.replica.Name())
		answer := p.readStore.closeGet()
		before := p.ask(t)
		p.readStore.let(&p.readStore.afterGet)
		end(p.write(t, "created"))
		answer()
		time.Sleep(time.Second) // it may first wait for the log
		before.answers(t, "a reader that came before the create", "")
		p.cached(t, "before the create is received", 0, 0)
		p.log.Release()
		synctest.Wait()
		p.ask(t).answers(t, "a reader after the create", "created")
	})
}

// The intent of a create drops a cached absence, before the store has the
// credential.
func TestCachedAbsenceAgainstCreate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		reads := p.readStore.Calls(storetest.Get)
		for range 3 {
			p.ask(t).answers(t, "a reader before the create", "")
		}
		p.cached(t, "before the create", 1, 1)
		if n := p.readStore.Calls(storetest.Get) - reads; n != 1 {
			t.Errorf("3 readers of what is missing made %d reads of the store, want 1", n)
		}
		commit := p.writerStore.closePut()
		written := p.write(t, "created")
		p.cached(t, "after the intent of the create", 0, 0)
		p.ask(t).answers(t, "a reader between intent and commit", "")
		p.cached(t, "between intent and commit", 0, 0)
		commit()
		end(written)
		p.ask(t).answers(t, "a reader after the create", "created")
		p.cached(t, "after the create", 1, 0)
	})
}

// The first read after a replica was idle waits for the lease, and is a hit.
func TestIdleReplicaHitsAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.writer.store(t, p.at, "value")
		synctest.Wait()
		p.ask(t).answers(t, "the first reader", "value")
		time.Sleep(time.Minute)
		if _, _, ok := p.reader.Hit(nil, []byte(p.at.Scope), []byte(p.at.ID), nil); ok {
			t.Error("the lease still holds after an idle minute")
		}
		reads := p.readStore.Calls(storetest.Get)
		p.ask(t).answers(t, "a reader after a minute", "value")
		if n := p.readStore.Calls(storetest.Get) - reads; n != 0 {
			t.Errorf("it made %d reads of the store", n)
		}
		if _, _, ok := p.reader.Hit(nil, []byte(p.at.Scope), []byte(p.at.ID), nil); !ok {
			t.Error("the next read is not a hit")
		}
	})
}

// Key rotation against open: replicas are given a new keyring one after the
// other. A replica with the old keyring cannot open records sealed by the new
// key: it must report that, cache nothing of them, and not serve the old value.
// A replica with the new keyring opens both.
func TestKeyRotation(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
		rotated, err := ring.Rotated()
		if err != nil {
			t.Fatal(err)
		}
		behind := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = ring })
		ahead := newBed(t, shared, log, func(c *manager.Config) { c.Keyring = rotated })
		item := subjects.RetrieveItem{Target: target("org:acme", "db")}
		behind.store(t, item.Target, "by the old key")
		synctest.Wait()
		for _, b := range []*bed{behind, ahead} {
			if got := b.value(t, item); got != "by the old key" {
				t.Errorf("got %q", got)
			}
		}
		ahead.store(t, item.Target, "by the new key")
		synctest.Wait()
		for range 2 {
			if _, err := behind.retrieve(t.Context(), item, subjects.Revision{}); told(err) != subjects.DecryptFailed {
				t.Errorf("with the old keyring: %v", err)
			}
			if got := ahead.value(t, item); got != "by the new key" {
				t.Errorf("got %q", got)
			}
		}
		if n := behind.cache.Stats().Entries; n != 0 {
			t.Errorf("%d entries of records that do not open are cached", n)
		}
		behind.store(t, item.Target, "by the old key again")
		synctest.Wait()
		if got := ahead.value(t, item); got != "by the old key again" {
			t.Errorf("got %q", got)
		}
	})
}
