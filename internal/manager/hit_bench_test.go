package manager_test

import (
	"testing"

	"credbus/internal/coherence"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// BenchmarkHit measures a hit, with and without the protocol between replicas:
// the difference is a check of the lease.
func BenchmarkHit(b *testing.B) {
	for _, mode := range []coherence.Mode{coherence.Bounded, coherence.Off} {
		b.Run("mode="+string(mode), func(b *testing.B) {
			bed := newModeBed(b, mode, memory.New(), nil, nil)
			at := target("org:acme/team:eng/service:api", "db-password")
			min := []byte(bed.store(b, at, string(make([]byte, 256))).Revision.String())
			bed.value(b, subjects.RetrieveItem{Target: at}) // is cached from now on
			dst := make([]byte, 0, 1024)
			scope, id := []byte(at.Scope), []byte(at.ID)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := bed.Hit(dst, scope, id, min); !ok {
					b.Fatal("no hit: ", bed.replica.Trust())
				}
			}
		})
	}
}
