package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/config"
	"credbus/subjects"
)

// joinBed starts a second worker on the server, the store and the keyring of
// the first.
func joinBed(t testing.TB, first *bed, settings ...string) *bed {
	t.Helper()
	c, err := config.Load(nil, append([]string{
		"CREDBUS_COHERENCE_MODE=" + first.config.Coherence.Mode,
		"CREDBUS_DATA_DIR=" + t.TempDir(),
		"CREDBUS_NATS_CONTEXT=" + first.server.WorkerContext(),
		"CREDBUS_STORE_TYPE=" + first.config.Store.Type,
		"CREDBUS_STORE_DIR=" + first.config.Store.Dir,
		"CREDBUS_KEYRING_FILE=" + first.config.Keyring.File,
	}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	b := runBed(t, c)
	b.client = first.client
	return b
}

// awaitReplicas checks that cache_stats and clear_cache name all running and
// all missing replicas, and no others. It repeats until the running ones have
// answered and are trusted: on a busy machine one may be late, and is then
// named as missing.
func (b *bed) awaitReplicas(t *testing.T, there []string, gone ...string) {
	t.Helper()
	slices.Sort(there)
	want := slices.Sorted(slices.Values(append(gone, there...)))
	complete := func(command subjects.Command, names, missing []string) bool {
		t.Helper()
		if got := slices.Sorted(slices.Values(append(missing, names...))); !slices.Equal(got, want) {
			t.Fatalf("%s names %q, misses %q, want %q", command, names, missing, want)
		}
		return slices.Equal(names, there)
	}
	waitFor(t, fmt.Sprintf("%q to answer", there), func() bool {
		stats, cleared, trusted := new(subjects.CacheStatsReply), new(subjects.ClearCacheReply), true
		b.must(t, subjects.CacheStats, subjects.Root, &subjects.CacheStatsRequest{}, stats)
		var names []string
		for _, s := range stats.Replicas {
			names = append(names, s.Replica)
			trusted = trusted && s.Trusted
		}
		b.must(t, subjects.ClearCache, "org:acme", &subjects.ClearCacheRequest{}, cleared)
		return complete(subjects.CacheStats, names, stats.Missing) && complete(subjects.ClearCache, cleared.Replicas, cleared.Missing) && trusted
	})
}

func TestReplicasAreNamed(t *testing.T) {
	a := newBed(t)
	b := joinBed(t, a)
	c := joinBed(t, a)

	a.awaitReplicas(t, []string{a.Name(), b.Name(), c.Name()})

	b.stop(t)
	a.awaitReplicas(t, []string{a.Name(), c.Name()})

	c.conn.Close() // without an announcement
	waitFor(t, "the server to notice", func() bool {
		_, err := a.client.Request("$SRV.PING.credbus."+c.Name(), nil, 200*time.Millisecond)
		return errors.Is(err, nats.ErrNoResponders)
	})
	a.awaitReplicas(t, []string{a.Name()}, c.Name())
	// Close must work even after the connection is lost for good.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.givenUp = true
	if err := c.Close(ctx); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed without its connection: %v", err)
	}
}

// hit reads a credential until it is in the cache of b, and returns the cached
// reply. Other workers may answer the reads.
func (b *bed) hit(t *testing.T, scope subjects.Scope, id subjects.ID, min subjects.Revision) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	if err := b.replica.Await(ctx, min); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, told := b.get(t, scope, id); told != nil {
			t.Fatal(told)
		}
		if open, _, ok := b.cache.Get(nil, []byte(scope), []byte(id)); ok {
			reply := new(subjects.RetrieveReply)
			if err := subjects.Decode(subjects.AppendRevision(open, subjects.Revision{}), reply); err != nil {
				t.Fatal(err)
			}
			return string(reply.Data[subjects.ValueName].Bytes())
		}
	}
	t.Fatalf("%s/%s does not come into the cache of %s", scope, id, b.Name())
	return ""
}

func TestWriteThroughOneReadThroughTheOther(t *testing.T) {
	a := newBed(t)
	b := joinBed(t, a)
	const scope, id = "org:acme", "db"
	for i, value := range []string{"first", "second", "third", "fourth"} {
		// Both have the old value in their caches.
		stored := a.put(t, scope, id, value)
		for _, replica := range []*bed{a, b} {
			if got := replica.hit(t, scope, id, stored.Revision); got != value {
				t.Fatalf("write %d: %s answers %q, want %q", i, replica.Name(), got, value)
			}
		}
	}
}

// After a request is repeated over another write, replicas must not keep their
// cached values.
func TestRepeatedRequestReachesEveryCache(t *testing.T) {
	a := newBed(t)
	b := joinBed(t, a)
	const scope, id = "org:acme", "db"
	store := func(request, value string) *subjects.StoreReply {
		reply := new(subjects.StoreReply)
		a.must(t, subjects.Store, scope, &subjects.StoreRequest{Envelope: subjects.Envelope{RequestID: request}, StoreItem: item(id, value)}, reply)
		return reply
	}
	store("one", "first")
	stored := store("two", "second")
	a.hit(t, scope, id, stored.Revision)
	b.hit(t, scope, id, stored.Revision)
	again := store("one", "first")
	for range 20 {
		request := retrieve(id)
		request.Revision = again.Revision
		reply := new(subjects.RetrieveReply)
		a.must(t, subjects.Retrieve, scope, request, reply)
		if reply.Version != again.Version {
			t.Fatalf("a read that asks for revision %v got version %s, which was replaced by %s", again.Revision, reply.Version, again.Version)
		}
	}
}
