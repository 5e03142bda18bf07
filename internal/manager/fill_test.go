package manager_test

import (
	"crypto/rand"
	"io"
	"testing"
	"time"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// asking is a keyring that calls a function before it opens anything.
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

// asks is a source of random bytes that calls a function before it returns any.
type asks struct {
	io.Reader
	ask func()
}

func (a asks) Read(b []byte) (int, error) {
	a.ask()
	return a.Reader.Read(b)
}

// TestFillWorksOutsideTheLock uses the replica whenever a record is opened, and
// whenever an entry is sealed for the cache, which takes random bytes: both
// take long, and must not block the replica for others.
func TestFillWorksOutsideTheLock(t *testing.T) {
	ring := &asking{Keyring: keyring(t)}
	b := newBed(t, memory.New(), nil, func(config *manager.Config) { config.Keyring = ring })
	at := target("org:acme", "key")
	b.store(t, at, "value")
	opened, sealed := 0, 0
	asked := func(count *int, what string) func() {
		return func() {
			*count++
			answered := make(chan struct{})
			go func() { defer close(answered); b.replica.Token(at, subjects.Revision{}) }()
			select {
			case <-answered:
			case <-time.After(5 * time.Second):
				t.Errorf("the replica is locked while %s", what)
			}
		}
	}
	ring.ask = asked(&opened, "a record is opened")
	random := rand.Reader
	defer func() { rand.Reader = random }()
	rand.Reader = asks{random, asked(&sealed, "an entry is sealed for the cache")}
	for i, at := range []subjects.Target{at, target("org:acme", "missing")} {
		_, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at}, subjects.Revision{})
		if missing := i == 1; told(err) == subjects.NotFound != missing {
			t.Fatal(err)
		}
		awaitFlights(t, b)
		if held := b.cache.Stats().Entries; held != i+1 || sealed < i+1 || opened == 0 {
			t.Errorf("%s: %d entries are cached, %d records were opened, and random bytes were taken %d times", at.ID, held, opened, sealed)
		}
	}
}
