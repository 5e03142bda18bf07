package handler

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// Requests that ask all replicas take no worker of the pool, even if a replica is dead.
// Concurrent ones share one question.
func TestAskingAllIsSharedAndOutsideThePool(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.Workers, c.GatherTimeout = 1, 2*time.Second })
	if err := b.client.Publish(subjects.DefaultPrefix.Coherence(helloSubject), []byte("dead web-3")); err != nil {
		t.Fatal(err)
	}
	var questions atomic.Int64
	for _, subject := range []string{reportSubject, scopeSubject} {
		if _, err := b.client.Subscribe(subjects.DefaultPrefix.Coherence(subject), func(*nats.Msg) { questions.Add(1) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.client.Flush(); err != nil {
		t.Fatal(err)
	}

	const callers = maxAsking + 100
	replies, err := b.client.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	for i := range callers {
		command := []subjects.Command{subjects.CacheStats, subjects.ClearCache}[i%2]
		if err := b.client.PublishRequest(subjects.DefaultPrefix.Command(command, "org:acme"), replies.Subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if told := b.ask(t, subjects.Store, `{"id":"db","value":"v"}`); told != nil {
		t.Errorf("a store meanwhile: %v", told)
	}
	answered, refused := 0, 0
	for range callers {
		msg, err := replies.NextMsg(requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		switch told := refusal(t, msg); {
		case told == nil:
			answered++
		case told.Code == subjects.ResourceExhausted:
			if refused++; answered > 0 {
				t.Error("a request beyond the limit is not refused at once")
			}
		default:
			t.Fatal(told)
		}
	}
	if refused != callers-maxAsking || answered != maxAsking {
		t.Errorf("%d are refused and %d answered, want %d and %d", refused, answered, callers-maxAsking, maxAsking)
	}
	if n := questions.Load(); n > 4 { // the current one and the next, and at most one late one for each
		t.Errorf("%d requests asked the replicas %d times", answered, n)
	}
	// Only operators learn where the dead replica ran.
	for command, want := range map[subjects.Command]string{subjects.CacheStats: "dead", subjects.AdminCacheStats: "dead on web-3"} {
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), nil, requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		var reply subjects.AdminCacheStatsReply // decodes the names in both replies
		if err := subjects.Decode(msg.Data, &reply); err != nil || len(reply.Missing) != 1 || reply.Missing[0] != want {
			t.Errorf("%s misses %q, want %q (%v)", command, reply.Missing, want, err)
		}
	}
}

// A request that comes while the replicas are being asked is answered by the next question,
// because an answer to the current one may be older.
func TestLaterRequestAsksAgain(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.GatherTimeout = time.Second })
	if err := b.client.Publish(subjects.DefaultPrefix.Coherence(helloSubject), []byte("dead web-3")); err != nil {
		t.Fatal(err)
	}
	questions, err := b.client.SubscribeSync(subjects.DefaultPrefix.Coherence(scopeSubject))
	if err != nil {
		t.Fatal(err)
	}
	replies, err := b.client.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		if err := b.client.PublishRequest(subjects.DefaultPrefix.Command(subjects.CacheStats, "org:acme"), replies.Subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	asked := func() {
		t.Helper()
		if _, err := questions.NextMsg(requestTimeout); err != nil {
			t.Fatal("the replicas were not asked for a request that came while they were being asked")
		}
	}
	ask()
	asked() // from now on the request waits for the dead replica
	ask()
	ask()
	asked()
	for range 3 {
		msg, err := replies.NextMsg(requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if told := refusal(t, msg); told != nil {
			t.Error(told)
		}
	}
	if n, _, err := questions.Pending(); err != nil || n != 0 {
		t.Errorf("two requests at once asked the replicas %d times more (%v)", n, err)
	}
}

// Replicas do not answer a question from a tenant's inbox.
func TestReportsAreForReplicas(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, subject := range []string{reportSubject, scopeSubject, factsSubject, keysSubject} {
		if _, err := b.client.Request(subjects.DefaultPrefix.Coherence(subject), nil, 200*time.Millisecond); err == nil {
			t.Errorf("%s answers any client", subject)
		}
	}
	if n := b.counts.refusedReplies.Load(); n != 4 {
		t.Errorf("%d refused replies are counted, want 4", n)
	}
}
