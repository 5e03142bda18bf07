package integration

import (
	"context"
	"fmt"
	"testing"

	"credbus/client"
	"credbus/subjects"
)

const scope = client.Scope("org:acme/team:eng")

func connect(t *testing.T, b *bed) *client.Client {
	t.Helper()
	c, err := client.Connect(b.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func store(ctx context.Context, t *testing.T, c *client.Client, key string, seq int) (version string) {
	t.Helper()
	version, err := c.Store(ctx, scope, client.ID(key), client.Value(valueOf(key, seq)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// expect reads a key, and fails unless it is at seq.
func expect(ctx context.Context, t *testing.T, c *client.Client, key string, seq int) {
	t.Helper()
	credential, err := c.Retrieve(ctx, scope, client.ID(key), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seqOf(key, credential.Value()); err != nil || got != seq {
		t.Fatalf("read %s=%d (%v), want %d", key, got, err, seq)
	}
}

// statistics are those of both workers' caches, by replica. A replica that a busy machine
// delays is named as missing, and asked again.
func statistics(ctx context.Context, t *testing.T, c *client.Client) map[string]subjects.ReplicaStats {
	t.Helper()
	var reply *client.Statistics
	for complete := false; !complete; complete = len(reply.Missing) == 0 {
		var err error
		if reply, err = c.Statistics(ctx); err != nil {
			t.Fatal(err)
		}
		if len(reply.Replicas)+len(reply.Missing) != 2 {
			t.Fatalf("%d replicas have answered and %v have not, want 2", len(reply.Replicas), reply.Missing)
		}
	}
	replicas := make(map[string]subjects.ReplicaStats)
	for _, r := range reply.Replicas {
		replicas[r.Replica] = r
	}
	return replicas
}

// TestTwoWorkers reads a credential through both workers, changes it through one of them, and
// reads it through both again. NATS chooses the worker of each request at random. So the test
// goes on until the workers' own counters show that both took part.
func TestTwoWorkers(t *testing.T) {
	ctx, b := newBed(t)
	// Two programs: one that changes, and one that learns the revision.
	writer, reader := connect(t, b), connect(t, b)
	const (
		rounds = 10
		most   = 2000 // reads; if one worker gets none of 2000, something is broken
		hits   = 5    // of each worker, each round
	)
	key := "db-password"
	for round := 1; ; round++ {
		version := store(ctx, t, writer, key, round)
		if version == "" {
			t.Fatal("stored without a version")
		}
		reader.Observe(writer.Revision())
		before := statistics(ctx, t, writer)
		// Both workers must read it from the store, or have it from the write, and then
		// answer from their caches, all with the new value.
		reads := 0
		for !bothHit(statistics(ctx, t, writer), before, hits) {
			for range 20 {
				expect(ctx, t, writer, key, round)
				expect(ctx, t, reader, key, round)
			}
			if reads += 40; reads > most {
				t.Fatalf("round %d: after %d reads the workers' caches are at %+v, and were at %+v", round, reads, statistics(ctx, t, writer), before)
			}
		}
		for name, s := range statistics(ctx, t, writer) {
			if s.Entries < 1 || s.Trust != "trusted" {
				t.Errorf("round %d: %s has %d entries and is %q: the next change would have nothing to drop there", round, name, s.Entries, s.Trust)
			}
		}
		stores, err := b.served(ctx, string(subjects.Store))
		if err != nil {
			t.Fatal(err)
		}
		if round >= rounds && stores["worker-a"] > 0 && stores["worker-b"] > 0 {
			t.Logf("rounds=%d stores=%v caches=%s", round, stores, describe(statistics(ctx, t, writer)))
			return
		}
		if round == 10*rounds {
			t.Fatalf("after %d changes the workers have made %v of them", round, stores)
		}
	}
}

func bothHit(now, before map[string]subjects.ReplicaStats, hits int64) bool {
	for name, s := range now {
		if s.Hits < before[name].Hits+hits {
			return false
		}
	}
	return true
}

func describe(replicas map[string]subjects.ReplicaStats) (text string) {
	for name, s := range replicas {
		text += fmt.Sprintf("[%s hits=%d misses=%d entries=%d]", name, s.Hits, s.Misses, s.Entries)
	}
	return text
}
