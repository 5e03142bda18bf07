package manager_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// indexed is the store of one of two replicas: its servers return an index with
// each write, and it records the observed indices before each read.
type indexed struct {
	store.Store
	gives string

	mu       sync.Mutex
	observed []string
}

func (s *indexed) Index() string { return s.gives }

func (s *indexed) Observe(index string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = append(s.observed, index)
}

func (s *indexed) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.observed, ",")
}

// indexedBed runs a replica with an indexed store.
func indexedBed(t *testing.T, log *coherencetest.Log, s *indexed, ring manager.Keyring) *bed {
	t.Helper()
	c, err := cache.New(cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	replica := coherence.NewReplica(log, c, coherence.Config{Logger: slog.New(slog.DiscardHandler), Observe: func(entry *subjects.Event) {
		if index, ok := manager.OpenIndex(ring, entry); ok {
			s.Observe(index)
		}
	}})
	return runBed(t, replica, c, func(config *manager.Config) {
		config.Store, config.Keyring = s, ring
		config.Index = func(subjects.Scope) string { return s.gives }
	})
}

// The index of the writer's store must reach the store of another replica
// before its next read. In the log, which clients see too, it must be
// unreadable.
func TestIndexReachesTheOtherReplica(t *testing.T) {
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	w, r := &indexed{Store: shared}, &indexed{Store: shared}
	writer, reader := indexedBed(t, log, w, ring), indexedBed(t, log, r, ring)
	stranger := &indexed{Store: shared}
	other := indexedBed(t, log, stranger, keyring(t)) // it has another keyring
	at := target("org:acme", "db")
	const index = "an-index-of-the-store"
	w.gives = index
	reply := writer.store(t, at, "value")
	for _, b := range []*bed{reader, other} {
		if err := b.replica.Await(t.Context(), reply.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.seen(); got != index {
		t.Errorf("the reader's store has observed %q, want %q", got, index)
	}
	if w.seen() != "" || stranger.seen() != "" {
		t.Errorf("observed by the writer %q, by one with another keyring %q", w.seen(), stranger.seen())
	}
	sealed := 0
	for _, entry := range log.Entries() {
		if strings.Contains(entry.Index, index) {
			t.Errorf("the index stands in clear in an entry that clients see: %+v", entry)
		}
		if entry.Index != "" {
			sealed++
		}
	}
	if sealed != 1 {
		t.Errorf("%d entries have an index, want 1", sealed)
	}
}

// An index that does not belong to this write is ignored, and changes nothing
// else.
func TestForgedIndex(t *testing.T) {
	shared, log, ring := memory.New(), coherencetest.NewLog(), keyring(t)
	w, r := &indexed{Store: shared, gives: "index"}, &indexed{Store: shared}
	writer, reader := indexedBed(t, log, w, ring), indexedBed(t, log, r, ring)
	at := target("org:acme", "db")
	writer.store(t, at, "first")
	writer.store(t, at, "second")
	var genuine []subjects.Event
	for _, entry := range log.Entries() {
		if entry.Index != "" {
			genuine = append(genuine, entry)
		}
	}
	if len(genuine) != 2 {
		t.Fatalf("%d entries have an index, want 2", len(genuine))
	}
	was := "index,index"
	for name, index := range map[string]string{
		"garbage": "garbage", "no base64": "\x00\r\n%", "too short": "AAAA", "long": strings.Repeat("QUFB", 500),
		"of another write": genuine[1].Index,
	} {
		forged := genuine[0]
		forged.Index = index
		revision, err := log.Append(t.Context(), &forged)
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.replica.Await(t.Context(), revision); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := r.seen(); got != was {
			t.Errorf("%s: observed %q, want %q", name, got, was)
		}
		if got := reader.value(t, subjects.RetrieveItem{Target: at}); got != "second" {
			t.Errorf("%s: read %q", name, got)
		}
	}
	// Nor must an index open as the value of a credential.
	record, err := shared.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := manager.OpenIndex(ring, &subjects.Event{Target: at, WriteID: record.WriteID, Index: string(record.Payload)}); ok {
		t.Error("the value of a credential opens as an index")
	}
}
