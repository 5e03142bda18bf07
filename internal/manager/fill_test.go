package manager_test

import (
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// asking is a keyring that asks before it opens anything.
type asking struct {
	manager.Keyring
	ask func()
}

func (a *asking) Open(sealed []byte, b seal.Binding) ([]byte, error) {
	if a.ask != nil {
		a.ask()
	}
	return a.Keyring.Open(sealed, b)
}

// TestFillOpensOutsideTheLock has the replica asked for something whenever a record is
// opened: opening takes long, and must not make everybody wait for the replica.
func TestFillOpensOutsideTheLock(t *testing.T) {
	ring := &asking{Keyring: keyring(t)}
	b := newBed(t, memory.New(), nil, func(config *manager.Config) { config.Keyring = ring })
	at := target("org:acme", "key")
	b.store(t, at, "value")
	opened := 0
	ring.ask = func() {
		opened++
		answered := make(chan struct{})
		go func() { defer close(answered); b.replica.Token(at, subjects.Revision{}) }()
		select {
		case <-answered:
		case <-time.After(5 * time.Second):
			t.Error("the replica is locked while a record is opened")
		}
	}
	if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{}); err != nil {
		t.Fatal(err)
	}
	if held := b.cache.Stats().Entries; held != 1 || opened == 0 {
		t.Errorf("%d entries are cached, and %d records were opened", held, opened)
	}
}
