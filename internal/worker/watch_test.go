package worker

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/coherence"
	"credbus/internal/config"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// outsideBed is two workers on one store, and what happens to its credentials.
type outsideBed struct {
	*bed
	second *bed
	events *nats.Subscription
	told   subjects.Event // the last one
	again  bool           // it was reported twice
}

func newOutsideBed(t *testing.T, settings ...string) *outsideBed {
	t.Helper()
	dir := t.TempDir()
	b := &outsideBed{bed: startBed(t, dir, settings...)}
	c, err := config.Load(nil, append([]string{
		"CREDBUS_DATA_DIR=" + dir, "CREDBUS_NATS_CONTEXT=" + b.server.WorkerContext(),
	}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	b.second = runBed(t, c)
	if b.events, err = b.client.SubscribeSync(subjects.DefaultPrefix.Events(subjects.Root)); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}
	return b
}

// cached reads until both workers answer from their caches, and checks what.
func (b *outsideBed) cached(t *testing.T, id subjects.ID, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for _, w := range []*bed{b.bed, b.second} {
		for {
			reply, ok := w.handlerHit(id)
			if ok && reply == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a worker does not get %q into its cache: it has %q (%v)", want, reply, ok)
			}
			if got, told := b.get(t, outsideScope, id); told == nil && got != want {
				time.Sleep(time.Millisecond) // the change is on its way
			}
		}
	}
}

// handlerHit returns the entry in a worker's cache.
func (b *bed) handlerHit(id subjects.ID) (string, bool) {
	open, _, ok := b.cache.Get(nil, []byte(outsideScope), []byte(id))
	if !ok || !b.replica.Look().Live() {
		return "", false
	}
	var reply subjects.RetrieveReply
	if subjects.Decode(b.replica.AppendApplied(open), &reply) != nil {
		return "", false
	}
	return string(reply.Data[subjects.ValueName].Bytes()), true
}

const outsideScope = subjects.Scope("org:acme/team:eng")

// event waits for the next event that no worker's write made. If two replicas
// end their pauses at the same moment, both report the same change.
func (b *outsideBed) event(t *testing.T) subjects.Event {
	t.Helper()
	for {
		msg, err := b.events.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil {
			t.Fatal(err)
		}
		if event.WriteID == "" && !b.repeated(event) {
			return event
		}
	}
}

// repeated reports whether an event is the last one, sent twice.
func (b *outsideBed) repeated(event subjects.Event) bool {
	same := event.Target == b.told.Target && event.Kind == b.told.Kind && event.Version == b.told.Version
	first := !b.again
	b.told, b.again = event, same
	return same && first
}

// quiet fails if an event reports a change that no worker made.
func (b *outsideBed) quiet(t *testing.T) {
	t.Helper()
	const settled = 1200 * time.Millisecond // twice as long as a replica takes to tell
	for {
		msg, err := b.events.NextMsg(settled)
		if err != nil {
			return
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil || event.WriteID == "" && !b.repeated(event) {
			t.Errorf("reported again: %+v (%v)", event, err)
		}
	}
}

// A change of the store's files by hand makes one event, and all workers see
// it.
func TestFilesChangedByHand(t *testing.T) {
	b := newOutsideBed(t)
	first := b.put(t, outsideScope, "db", "one")
	path := recordFile(t, b.config.Store.Dir)
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, outsideScope, "db", "two")
	b.cached(t, "db", "two")

	restored := filepath.Join(t.TempDir(), "restored")
	if err := os.WriteFile(restored, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(restored, path); err != nil {
		t.Fatal(err)
	}
	event := b.event(t)
	if event.Kind != subjects.EventStored || event.Version != first.Version || event.Target != (subjects.Target{Scope: outsideScope, ID: "db"}) {
		t.Errorf("the restored backup is reported as %+v", event)
	}
	b.cached(t, "db", "one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if event := b.event(t); event.Kind != subjects.EventDeleted {
		t.Errorf("the removed file is reported as %+v", event)
	}
	_, told := b.get(t, outsideScope, "db")
	wantCode(t, told, subjects.NotFound)
	b.quiet(t)
}

// recordFile is the one file of a store.
func recordFile(t *testing.T, dir string) (path string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.Contains(name, "records") {
			path = name
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no record in %s: %v", dir, err)
	}
	return path
}

// The same for changes of a bucket with other tools.
func TestBucketChangedByHand(t *testing.T) {
	b := newOutsideBed(t, onBucket)
	b.put(t, outsideScope, "db", "one")
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), b.config.Store.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	const key = "org=acme.team=eng.db"
	backup, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, outsideScope, "db", "two")
	b.cached(t, "db", "two")
	if _, err := kv.Put(t.Context(), key, backup.Value()); err != nil {
		t.Fatal(err)
	}
	if event := b.event(t); event.Kind != subjects.EventStored || event.Version == "" {
		t.Errorf("the restored backup is reported as %+v", event)
	}
	b.cached(t, "db", "one")
	if err := kv.Purge(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if event := b.event(t); event.Kind != subjects.EventDeleted {
		t.Errorf("the purged key is reported as %+v", event)
	}
	_, told := b.get(t, outsideScope, "db")
	wantCode(t, told, subjects.NotFound)
	b.quiet(t)
}

// restarting is a store whose watch starts over when a test demands it, and
// reports nothing else.
type restarting struct {
	*memory.Store
	watches chan func(store.Change)
}

func (r *restarting) Watch(ctx context.Context, changed func(store.Change)) error {
	changed(store.Change{All: true})
	r.watches <- changed
	<-ctx.Done()
	return ctx.Err()
}

// A watch that starts over drops the credentials of its own store from both
// caches, and voids running reads of them. Those of other stores stay, however
// routes nest.
func TestWatchStartsOver(t *testing.T) {
	memories := openers["memory"]
	t.Cleanup(func() { openers["memory"] = memories })
	openers["memory"] = func(context.Context, *Worker, config.Store) (store.Store, error) {
		return &restarting{memory.New(), make(chan func(store.Change), 1)}, nil
	}
	b := newBed(t, "CREDBUS_CACHE_STALE_ON_OUTAGE=1h", withFile(t, `
store:
  type: memory
  routes: [org:acme=eu, "org:acme/team:lab=lab", "org:acme/team:lab/env:public=default"]
stores:
  eu: {type: memory}
  lab: {type: memory}
  spare: {type: memory}
`))
	changed := make(map[string]func(store.Change))
	for _, o := range b.stores {
		changed[o.name] = <-o.driver.(*restarting).watches
	}
	scopes := []subjects.Scope{"org:other", "org:acme", "org:acme/team:eng", "org:acme/team:lab", "org:acme/team:lab/env:public"}
	for _, scope := range scopes {
		b.put(t, scope, "db", "v")
	}
	held := func(scope subjects.Scope) (cached, known bool) {
		_, _, cached = b.cache.Get(nil, []byte(scope), []byte("db"))
		_, _, known = b.known.Get(nil, []byte(scope), []byte("db"))
		return cached, known
	}
	for name, own := range map[string][]subjects.Scope{
		config.DefaultStore: {"org:other", "org:acme/team:lab/env:public"},
		"eu":                {"org:acme", "org:acme/team:eng"},
		"lab":               {"org:acme/team:lab"},
		"spare":             nil,
	} {
		tokens := make(map[subjects.Scope]coherence.Token)
		for _, scope := range scopes {
			key := subjects.Target{Scope: scope, ID: "db"}
			for deadline := time.Now().Add(10 * time.Second); ; {
				b.get(t, scope, "db") //nolint:errcheck // what is held tells
				cached, known := held(scope)
				token, ok := b.replica.Token(key, subjects.Revision{})
				if cached && known && ok {
					tokens[scope] = token
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s does not get into both caches: cached %v, known %v", scope, cached, known)
				}
			}
		}
		changed[name](store.Change{All: true})
		for _, scope := range scopes {
			drops := slices.Contains(own, scope)
			if cached, known := held(scope); cached == drops || known == drops {
				t.Errorf("the watch of %s starts over: %s is cached: %v, known: %v", name, scope, cached, known)
			}
			fills := b.replica.Fill(subjects.Target{Scope: scope, ID: "db"}, tokens[scope], coherence.Answer{}, func() {})
			if fills == drops {
				t.Errorf("the watch of %s starts over during a read of %s, which fills: %v", name, scope, fills)
			}
		}
	}
}
