package handler

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// Who asks all replicas, one of which is dead, takes no worker from others, and who
// asks at the same time shares the wait and the question.
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
		t.Errorf("a store beside them: %v", told)
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
				t.Error("what is too much is not refused at once")
			}
		default:
			t.Fatal(told)
		}
	}
	if refused != callers-maxAsking || answered != maxAsking {
		t.Errorf("%d are refused and %d answered, want %d and %d", refused, answered, callers-maxAsking, maxAsking)
	}
	if n := questions.Load(); n > 4 { // one that is under way and the next, and a straggler each at most
		t.Errorf("%d requests asked the replicas %d times", answered, n)
	}
	// Where the dead one was, operators are told, and nobody else.
	for command, want := range map[subjects.Command]string{subjects.CacheStats: "dead", subjects.AdminCacheStats: "dead on web-3"} {
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), nil, requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		var reply subjects.AdminCacheStatsReply // which reads the other's names too
		if err := subjects.Decode(msg.Data, &reply); err != nil || len(reply.Missing) != 1 || reply.Missing[0] != want {
			t.Errorf("%s misses %q, want %q (%v)", command, reply.Missing, want, err)
		}
	}
}

// What was asked later than a round began is answered by another one.
func TestAskedLaterIsAskedAgain(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	first := b.askScope.join("org:acme", subjects.Revision{})
	<-first.done
	b.askScope.mu.Lock()
	b.askScope.next["org:acme"] = nil // as while one is under way
	b.askScope.mu.Unlock()
	second := b.askScope.join("org:acme", subjects.Revision{})
	if third := b.askScope.join("org:acme", subjects.Revision{}); third != second || second == first {
		t.Error("two who wait for the same round do not share it, or it is one that has begun")
	}
	b.asking.Go(func() { b.askScope.run("org:acme") }) // that round's end
	<-second.done
	if len(second.answers) != 1 || second.err != nil {
		t.Errorf("answered %+v, %v", second.answers, second.err)
	}
}

// A question from below a tenant's inbox is not answered.
func TestReportsAreForReplicas(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, subject := range []string{reportSubject, scopeSubject, factsSubject, keysSubject} {
		if _, err := b.client.Request(subjects.DefaultPrefix.Coherence(subject), nil, 200*time.Millisecond); err == nil {
			t.Errorf("%s answers whoever asks", subject)
		}
	}
	if n := b.counts.refusedReplies.Load(); n != 4 {
		t.Errorf("%d refused replies are counted, want 4", n)
	}
}
