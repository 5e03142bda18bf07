package manager_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// bed is a manager and the parts that it uses.
type bed struct {
	*manager.Manager
	cache   *cache.Cache
	replica *coherence.Replica
	ring    manager.Keyring
}

// newBed runs a manager over s, on its own log unless one is given.
func newBed(t testing.TB, s store.Store, log *coherencetest.Log, change func(*manager.Config)) *bed {
	t.Helper()
	return newModeBed(t, "", s, log, change)
}

func newModeBed(t testing.TB, mode coherence.Mode, s store.Store, log *coherencetest.Log, change func(*manager.Config)) *bed {
	t.Helper()
	if log == nil {
		log = coherencetest.NewLog()
	}
	c, err := cache.New(cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	replica := coherence.NewReplica(log, c, coherence.Config{Mode: mode, Logger: slog.New(slog.DiscardHandler)})
	return runBed(t, replica, c, func(config *manager.Config) {
		config.Store = s
		if change != nil {
			change(config)
		}
	})
}

// runBed runs a manager with the config that change sets, and with a replica
// that drops from c.
func runBed(t testing.TB, replica *coherence.Replica, c *cache.Cache, change func(*manager.Config)) *bed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); replica.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	config := manager.Config{
		RecordsConfig: manager.RecordsConfig{Keyring: keyring(t), Replica: replica, Logger: slog.New(slog.DiscardHandler)},
		ReaderConfig:  manager.ReaderConfig{Cache: c, NegativeCaching: true},
	}
	change(&config)
	m, err := manager.New(config)
	if err != nil {
		t.Fatal(err)
	}
	wait, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := replica.AwaitTrust(wait); err != nil {
		t.Fatal(err)
	}
	return &bed{Manager: m, cache: c, replica: replica, ring: config.Keyring}
}

func keyring(t testing.TB) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func target(scope, id string) subjects.Target {
	return subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)}
}

func (b *bed) store(t testing.TB, at subjects.Target, value string) *subjects.StoreReply {
	t.Helper()
	return b.storeItem(t, subjects.StoreItem{Target: at, Data: subjects.Value([]byte(value))})
}

func (b *bed) storeItem(t testing.TB, item subjects.StoreItem) *subjects.StoreReply {
	t.Helper()
	reply, err := b.Store(t.Context(), &item, "")
	if err != nil {
		t.Fatalf("store %s: %v", item.Target, err)
	}
	if err := b.replica.Await(t.Context(), reply.Revision); err != nil {
		t.Fatal(err)
	}
	return reply
}

func (b *bed) retrieve(ctx context.Context, item subjects.RetrieveItem, min subjects.Revision) (*subjects.RetrieveReply, error) {
	encoded, revision, err := b.Retrieve(ctx, nil, item, min)
	if err != nil {
		return nil, err
	}
	reply := new(subjects.RetrieveReply)
	return reply, subjects.Decode(subjects.AppendRevision(encoded, revision), reply)
}

// value retrieves the single value of a credential.
func (b *bed) value(t testing.TB, item subjects.RetrieveItem) string {
	t.Helper()
	reply, err := b.retrieve(t.Context(), item, subjects.Revision{})
	if err != nil {
		t.Fatalf("retrieve %s: %v", item.Target, err)
	}
	return string(reply.Data[subjects.ValueName].Bytes())
}

func whole(target subjects.Target) (subjects.Target, error) { return target, nil }
