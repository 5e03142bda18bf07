package worker

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/internal/testbed"
	"credbus/internal/testbed/lagproxy"
	"credbus/subjects"
)

// Two workers keep credentials in one Vault, and the reads of one of them are
// behind. It must return nothing older than the writes of the other, or report
// that the store does not show them yet.
func TestVaultThatLags(t *testing.T) {
	server := testbed.Start(t, "vault")
	for _, mode := range []string{"bounded", "strict"} {
		for _, behind := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%s", mode, behind), func(t *testing.T) {
				l := newLagging(t, server, mode, lagproxy.Config{Lag: behind})
				l.compare(t, 200)
				l.ownWrites(t, 20)
			})
		}
	}
	// With a lag of zero, the worker trusts the same store.
	t.Run("unknown", func(t *testing.T) {
		l := newLagging(t, server, "bounded", lagproxy.Config{Lag: 300 * time.Millisecond}, "CREDBUS_STORE_LAG=0s")
		if l.old(t, 20, false) == 0 {
			t.Error("no answer was old, so this test shows nothing")
		}
	})
}

// If the servers of a Vault return an index, the next read of another worker
// carries that of a write. So the standby returns nothing old, and no read is
// repeated. No client can read the index in the event.
func TestIndexOfAnotherWorkersWrite(t *testing.T) {
	server := testbed.Start(t, "vault")
	const keys = 20
	for name, standby := range map[string]lagproxy.Config{
		"waits":      {Lag: 100 * time.Millisecond, Indexes: true},
		"forwards":   {Lag: 2 * time.Second, Indexes: true, Forwards: true},
		"no indexes": {Lag: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLagging(t, server, "bounded", standby)
			events, err := l.writer.client.SubscribeSync("cred.v1.event.>")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.writer.client.Flush(); err != nil {
				t.Fatal(err)
			}
			for i := range keys {
				value := fmt.Sprint("value ", i)
				if got := l.retrieve(t, l.reader, i, l.store(t, l.writer, i, value)); got != value {
					t.Errorf("read %q, want %q", got, value)
				}
			}
			stale, awaited, forwarded := l.proxy.Counts()
			t.Logf("of %d reads %d were stale, %d awaited, %d forwarded", keys, stale, awaited, forwarded)
			switch {
			case !standby.Indexes && (stale == 0 || awaited+forwarded > 0):
				t.Error("without indexes no answer was old, so this test shows nothing")
			case standby.Indexes && (stale > 0 || awaited+forwarded < keys):
				t.Errorf("reads did not carry the index of the write before them")
			}
			for range keys {
				msg, err := events.NextMsg(requestTimeout)
				if err != nil {
					t.Fatal(err)
				}
				var event subjects.Event
				if err := subjects.Decode(msg.Data, &event); err != nil {
					t.Fatal(err)
				}
				plain, _ := base64.StdEncoding.DecodeString(event.Index)
				if standby.Indexes != (event.Index != "") || strings.Contains(event.Index+string(plain), "lagproxy") {
					t.Errorf("the event has the index %q", event.Index)
				}
			}
		})
	}
}

// lagging is a worker that writes, and one whose reads are behind.
type lagging struct {
	writer, reader *bed
	scope          subjects.Scope
	proxy          *lagproxy.Proxy
}

func newLagging(t *testing.T, server *testbed.Server, mode string, standby lagproxy.Config, more ...string) *lagging {
	settings := append([]string{
		"CREDBUS_STORE_TYPE=vault", "VAULT_TOKEN=" + server.Fact("token"), "CREDBUS_COHERENCE_MODE=" + mode,
		"CREDBUS_STORE_VAULT_PATH=" + strings.ReplaceAll(t.Name(), "/", "-"),
	}, more...)
	l := &lagging{scope: "org:acme", proxy: lagproxy.New(t, server.Fact("address"), standby)}
	l.writer = newBed(t, append(settings, "VAULT_ADDR="+l.proxy.Active)...)
	l.reader = joinBed(t, l.writer, append(settings, "VAULT_ADDR="+l.proxy.Standby)...)
	return l
}

func (l *lagging) id(i int) subjects.ID { return subjects.ID(fmt.Sprint("key-", i)) }

// store writes at the given worker, not at one chosen by the queue group.
func (l *lagging) store(t *testing.T, at *bed, i int, value string) subjects.Revision {
	t.Helper()
	reply, err := at.manager.Store(t.Context(), &subjects.StoreItem{Target: subjects.Target{Scope: l.scope, ID: l.id(i)}, Data: subjects.Value([]byte(value))}, "")
	if err != nil {
		t.Error(err)
		return subjects.Revision{}
	}
	return reply.Revision
}

// retrieve reads at the given worker, and repeats while the store does not show
// the newest version.
func (l *lagging) retrieve(t *testing.T, at *bed, i int, least subjects.Revision) string {
	t.Helper()
	for {
		encoded, revision, err := at.manager.Retrieve(t.Context(), nil, subjects.RetrieveItem{Target: subjects.Target{Scope: l.scope, ID: l.id(i)}}, least)
		if told, ok := err.(*subjects.Error); ok && told.Retryable { //nolint:errorlint // no other is retried
			continue
		}
		if err != nil {
			return err.Error()
		}
		var reply subjects.RetrieveReply
		if err := subjects.Decode(subjects.AppendRevision(encoded, revision), &reply); err != nil {
			return err.Error()
		}
		return string(reply.Data[subjects.ValueName].Bytes())
	}
}

// each does something with every key, some at a time.
func each(keys int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(50)
	for i := range keys {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait() // none fails
}

// old replaces values at the writer and counts the reader's answers that are old.
func (l *lagging) old(t *testing.T, keys int, seen bool) int64 {
	t.Helper()
	var old atomic.Int64
	each(keys, func(i int) { l.store(t, l.writer, i, "first") })
	each(keys, func(i int) { l.retrieve(t, l.reader, i, subjects.Revision{}) }) // into the reader's cache
	each(keys, func(i int) {
		var least subjects.Revision
		if at := l.store(t, l.writer, i, "second"); seen {
			least = at
		}
		if l.retrieve(t, l.reader, i, least) != "second" {
			old.Add(1)
		}
	})
	return old.Load()
}

func (l *lagging) compare(t *testing.T, keys int) {
	t.Helper()
	old := l.old(t, keys, true)
	time.Sleep(2 * time.Second) // what is cached by now is served from now on
	var later atomic.Int64
	each(keys, func(i int) {
		if l.retrieve(t, l.reader, i, subjects.Revision{}) != "second" {
			later.Add(1)
		}
	})
	fmt.Printf("lag: %s keys=%d old_with_revision=%d old_after_2s=%d\n", t.Name(), keys, old, later.Load())
	if old > 0 || later.Load() > 0 {
		t.Errorf("of %d keys %d were old to readers with the writer's revision, and %d 2 s later", keys, old, later.Load())
	}
}

// ownWrites writes with conditions at the worker whose reads are behind, and
// reads its writes.
func (l *lagging) ownWrites(t *testing.T, keys int) {
	t.Helper()
	each(keys, func(i int) {
		if got := l.retrieve(t, l.reader, i, l.store(t, l.reader, i, "third")); got != "third" {
			t.Errorf("wrote third and read %q", got)
		}
		target := subjects.Target{Scope: l.scope, ID: l.id(i)}
		reply, err := l.writer.manager.Store(t.Context(), &subjects.StoreItem{Target: target, Data: subjects.Value([]byte("fourth"))}, "")
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := l.reader.manager.Store(t.Context(), &subjects.StoreItem{Target: target, Data: subjects.Value([]byte("fifth")), Version: reply.Version}, ""); err != nil {
			t.Errorf("a write on condition of the newest version: %v", err)
		}
		if _, err := l.writer.manager.Delete(t.Context(), subjects.DeleteItem{Target: target}); err != nil {
			t.Error(err)
		}
		if _, err := l.reader.manager.Store(t.Context(), &subjects.StoreItem{Target: target, Data: subjects.Value([]byte("sixth")), CreateOnly: true}, ""); err != nil {
			t.Errorf("a create after a delete: %v", err)
		}
	})
}
