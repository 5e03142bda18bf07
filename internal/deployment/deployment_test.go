package deployment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"credbus/internal/natsd"
	"credbus/internal/store"
	"credbus/subjects"
)

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	server, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Port: natsd.RandomPort, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	nc, _, err := natscontext.Connect(server.WorkerContext())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// alone is whether a test says that no other worker runs.
type alone struct{ atomic.Bool }

func (a *alone) ask(context.Context) bool { return a.Load() }

func newKeeper(t *testing.T, nc *nats.Conn, alone *alone, change bool) *Keeper {
	t.Helper()
	k, err := New(t.Context(), Config{
		Conn: nc, Prefix: subjects.DefaultPrefix, Stream: "CREDBUS_DEPLOYMENT",
		Alone: alone.ask, Change: change, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sample() Record {
	return Record{
		Protocol: 1, Lease: 2 * time.Second, Queue: "credbus",
		Stores: map[string]Store{
			"default":  {Type: "file", Form: "sealed", Identity: "file:one"},
			"vault-eu": {Type: "vault", Form: "native", Identity: "vault:eu"},
		},
		Routes: map[string]string{"org:acme": "vault-eu"},
		Keys:   []uint32{1, 2},
	}
}

func with(change func(*Record)) Record {
	r := sample()
	change(&r)
	return r
}

func TestJoin(t *testing.T) {
	for name, test := range map[string]struct {
		own    Record
		differ string // "" for a worker that agrees
		keys   string // of the record after that
	}{
		"the same":            {own: sample(), keys: "[1 2]"},
		"a new key":           {own: with(func(r *Record) { r.Keys = []uint32{2, 3} }), keys: "[1 2 3]"},
		"an old keyring":      {own: with(func(r *Record) { r.Keys = []uint32{1} }), keys: "[1 2]"},
		"another keyring":     {own: with(func(r *Record) { r.Keys = []uint32{7} }), differ: "keyring.file: the deployment has keys 1 2, this worker keys 7"},
		"another place":       {own: with(func(r *Record) { r.Stores["default"] = Store{"file", "sealed", "file:two"} }), differ: "store default: the deployment has file file:one (sealed), this worker file file:two (sealed)"},
		"another type":        {own: with(func(r *Record) { r.Stores["default"] = Store{"memory", "sealed", store.FleetingIdentity + "x"} }), differ: "store default"},
		"another form":        {own: with(func(r *Record) { r.Stores["vault-eu"] = Store{"vault", "sealed", "vault:eu"} }), differ: "store vault-eu"},
		"no route":            {own: with(func(r *Record) { r.Routes = nil }), differ: "store.routes of org:acme: the deployment has vault-eu, this worker none"},
		"one more route":      {own: with(func(r *Record) { r.Routes["org:else"] = "vault-eu" }), differ: "store.routes of org:else"},
		"a store that keeps":  {own: with(func(r *Record) { delete(r.Stores, "vault-eu") }), differ: "store vault-eu"},
		"a store to move to":  {own: with(func(r *Record) { r.Stores["new"] = Store{"aws", "sealed", "aws:1"} }), keys: "[1 2]"},
		"another protocol":    {own: with(func(r *Record) { r.Protocol = 2 }), differ: "version 1, this worker version 2"},
		"a longer lease":      {own: with(func(r *Record) { r.Lease = 3 * time.Second }), differ: "the lease: the deployment has at most 2s, this worker 3s"},
		"another queue group": {own: with(func(r *Record) { r.Queue = "q2" }), differ: "nats.queue: the deployment has credbus, this worker q2"},
		"of before":           {own: with(func(r *Record) { r.Queue = "" }), keys: "[1 2]"},
		"a shorter lease":     {own: with(func(r *Record) { r.Lease = time.Second }), keys: "[1 2]"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := connect(t)
			first, err := newKeeper(t, nc, new(alone), false).Join(t.Context(), sample())
			if err != nil || first.ID == "" {
				t.Fatalf("the first worker: %+v, %v", first, err)
			}
			joined, err := newKeeper(t, nc, new(alone), false).Join(t.Context(), test.own)
			if test.differ == "" {
				if err == nil && joined.Lease != first.Lease {
					t.Errorf("the lease of the deployment is %s now, was %s", joined.Lease, first.Lease)
				}
				if err != nil || joined.ID != first.ID || fmt.Sprint(joined.Keys) != test.keys {
					t.Errorf("joined %+v, %v; want keys %s", joined, err, test.keys)
				}
				return
			}
			if mismatch, ok := errors.AsType[*Mismatch](err); !ok || mismatch.Running || !strings.Contains(err.Error(), test.differ) || !strings.Contains(err.Error(), "--deployment.change") {
				t.Errorf("error %v, want one that says %q", err, test.differ)
			}
			if after, _, err := newKeeper(t, nc, new(alone), false).read(t.Context()); err != nil || !same(after, first) {
				t.Errorf("a worker that was refused changed the record to %+v, %v", after, err)
			}
		})
	}
}

// A worker that does not know the place of a store fits. What another worker knows is
// recorded, and the next one is compared with it.
func TestUnknownIdentities(t *testing.T) {
	nc := connect(t)
	unknown := with(func(r *Record) { r.Stores["vault-eu"] = Store{"vault", "native", ""} })
	k := newKeeper(t, nc, new(alone), false)
	join := func(own Record) (*Record, error) { return newKeeper(t, nc, new(alone), false).Join(t.Context(), own) }
	if _, err := k.Join(t.Context(), unknown); err != nil {
		t.Fatal(err)
	}
	if _, err := join(with(func(r *Record) { r.Stores["vault-eu"] = Store{"vault", "sealed", ""} })); err == nil || !strings.Contains(err.Error(), "of unknown identity (native)") {
		t.Errorf("another form: %v", err)
	}
	joined, err := join(sample())
	if err != nil || joined.Stores["vault-eu"].Identity != "vault:eu" {
		t.Errorf("a worker that knows: %+v, %v", joined, err)
	}
	if joined, err := join(unknown); err != nil || joined.Stores["vault-eu"].Identity != "vault:eu" {
		t.Errorf("one that does not, after it: %+v, %v", joined, err)
	}
	other := with(func(r *Record) { r.Stores["vault-eu"] = Store{"vault", "native", "vault:us"} })
	if _, err := join(other); err == nil || !strings.Contains(err.Error(), "store vault-eu") {
		t.Errorf("another place: %v", err)
	}
	// A running worker may also find out later.
	if err := k.Check(t.Context(), unknown); err != nil {
		t.Error(err)
	}
	if err := k.Check(t.Context(), sample()); err != nil {
		t.Error(err)
	}
	if _, ok := errors.AsType[*Mismatch](k.Check(t.Context(), other)); !ok {
		t.Error("a worker that found out that it has another place goes on")
	}
}

// Of workers that start at once, each with a place of its own, one is the first, and all
// others are refused.
func TestJoinAtOnce(t *testing.T) {
	const workers = 10
	nc := connect(t)
	var refused atomic.Int64
	var group sync.WaitGroup
	for i := range workers {
		k := newKeeper(t, nc, new(alone), false)
		group.Go(func() {
			_, err := k.Join(t.Context(), with(func(r *Record) { r.Stores["default"] = Store{"file", "sealed", fmt.Sprint("file:", i)} }))
			if _, ok := errors.AsType[*Mismatch](err); ok {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if refused.Load() != workers-1 {
		t.Errorf("%d of %d workers were refused, want all but one", refused.Load(), workers)
	}
}

// The record changes only on purpose, and never while other workers run.
func TestChange(t *testing.T) {
	nc := connect(t)
	others := new(alone)
	running := newKeeper(t, nc, others, false)
	first, err := running.Join(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	moved := with(func(r *Record) { r.Routes = nil; r.Keys = []uint32{9} })
	changing := newKeeper(t, nc, others, true)
	_, err = changing.Join(t.Context(), moved)
	if mismatch, ok := errors.AsType[*Mismatch](err); !ok || !mismatch.Running || !strings.Contains(err.Error(), "stop all of them first") {
		t.Fatalf("beside another worker: %v", err)
	}
	if err := running.Check(t.Context(), sample()); err != nil {
		t.Fatalf("the running worker after that: %v", err)
	}
	others.Store(true)
	changed, err := changing.Join(t.Context(), moved)
	if err != nil || changed.ID != first.ID || len(changed.Routes) != 0 || fmt.Sprint(changed.Keys) != "[9]" {
		t.Fatalf("changed to %+v, %v", changed, err)
	}
	// A rotated keyring is recorded before a worker has only the new key.
	rotated := with(func(r *Record) { r.Routes = nil; r.Keys = []uint32{9, 10} })
	if err := changing.Check(t.Context(), rotated); err != nil {
		t.Fatal(err)
	}
	if after, _, err := changing.read(t.Context()); err != nil || fmt.Sprint(after.Keys) != "[9 10]" {
		t.Errorf("after a rotation: %+v, %v", after, err)
	}
	// A worker that was cut off, and so seemed stopped, finds out.
	if _, ok := errors.AsType[*Mismatch](running.Check(t.Context(), sample())); !ok {
		t.Error("a worker that runs on does not notice that the record changed")
	}
}

// The content of a store in memory is gone with its worker, and so are its keys.
func TestFleeting(t *testing.T) {
	nc := connect(t)
	others := new(alone)
	k := newKeeper(t, nc, others, false)
	memory := func(run string, key uint32) Record {
		return Record{Protocol: 1, Lease: time.Second, Keys: []uint32{key},
			Stores: map[string]Store{"default": {"memory", "sealed", store.FleetingIdentity + run}}}
	}
	if _, err := k.Join(t.Context(), memory("a", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Join(t.Context(), memory("b", 2)); err == nil {
		t.Error("two workers with stores in memory run beside each other")
	}
	others.Store(true)
	if joined, err := k.Join(t.Context(), memory("b", 2)); err != nil || fmt.Sprint(joined.Keys) != "[2]" {
		t.Errorf("after the other one: %+v, %v", joined, err)
	}
	if _, err := k.Join(t.Context(), sample()); err == nil {
		t.Error("a lasting store replaced one in memory without deployment.change")
	}
}

func TestRecordIsGone(t *testing.T) {
	nc := connect(t)
	k := newKeeper(t, nc, new(alone), false)
	joined, err := k.Join(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.js.DeleteStream(t.Context(), "CREDBUS_DEPLOYMENT"); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	if again, _, err := k.read(t.Context()); err != nil || !same(again, joined) {
		t.Errorf("written again as %+v, %v, want %+v", again, err, joined)
	}
}

func TestRecordIsGarbage(t *testing.T) {
	nc := connect(t)
	k := newKeeper(t, nc, new(alone), true)
	for _, body := range []string{"", "{", `{"id":7}`, `{}`, strings.Repeat(" ", maxRecord+1)} {
		if _, err := k.js.Publish(t.Context(), k.subject(), []byte(body)); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Join(t.Context(), sample()); !errors.Is(err, errRecord) {
			t.Errorf("%.20q: %v", body, err)
		}
	}
}
