package coherence_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// The index that the store gave a write reaches every other replica with the end of the
// write, while the key is still held there: the next read can ask for it.
func TestIndexTravelsWithTheEndOfAWrite(t *testing.T) {
	var reader replica
	var observed []string
	configs := []coherence.Config{{Hold: hold, Observe: func(*subjects.Event) {
		t.Error("the writer observes its own index")
	}}, {Hold: hold, Observe: func(entry *subjects.Event) {
		if _, ok := reader.Token(key, subjects.Revision{}); ok {
			t.Error("the key is released before the index is known")
		}
		observed = append(observed, string(entry.Kind)+" "+entry.WriteID+" "+entry.Index)
	}}}
	runEach(t, configs, func(t *testing.T, log *coherencetest.Log, replicas []replica) {
		reader = replicas[1]
		for write, commit := range map[string]coherence.Commit{
			"stored":    {Kind: subjects.EventStored, Index: "index-1"},
			"deleted":   {Kind: subjects.EventDeleted, Index: "index-2"},
			"none":      {Kind: subjects.EventStored},
			"unchanged": {Kind: coherence.Unchanged, Index: "of no write"},
			"too long":  {Kind: subjects.EventStored, Index: strings.Repeat("x", subjects.MaxIndexLen+1)},
		} {
			observed = nil
			_, _, err := replicas[0].Write(t.Context(), key, write, func(context.Context, subjects.Revision) (coherence.Commit, error) {
				return commit, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var want string
			switch write {
			case "stored", "deleted":
				want = write + " " + write + " " + commit.Index
			case "none", "too long":
				want = "stored " + write + " "
			}
			if got := strings.Join(observed, ", "); got != want {
				t.Errorf("%s: observed %q, want %q", write, got, want)
			}
			mustToken(t, reader, key)
		}
		for _, entry := range log.Entries() {
			if len(entry.Index) > subjects.MaxIndexLen {
				t.Errorf("an index of %d bytes is in the log", len(entry.Index))
			}
		}
	})
}
