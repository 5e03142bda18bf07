package manager_test

import (
	"context"
	"testing"

	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// BenchmarkMiss measures the manager's part of a miss, for both forms of
// values. The store is in memory.
func BenchmarkMiss(b *testing.B) {
	for form, s := range map[string]store.Store{"sealed": memory.New(), "native": native{memory.New()}} {
		b.Run("form="+form, func(b *testing.B) {
			bed := newModeBed(b, coherence.Off, s, nil, nil)
			at := target("org:acme/team:eng/service:api", "db-password")
			bed.store(b, at, string(make([]byte, 256)))
			item := subjects.RetrieveItem{Target: at}
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				bed.cache.Drop(string(at.Scope), string(at.ID))
				if _, _, err := bed.Retrieve(context.Background(), dst, item, subjects.Revision{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
