package jetstream_test

import (
	"fmt"
	"testing"

	"credbus/internal/store"
)

// BenchmarkWalk is a walk over a whole bucket, page by page; the time for a record must
// not grow with how many there are.
//
//	go test ./internal/store/jetstream -run '^$' -bench Walk -benchtime 1x
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprintf("%d/by100", n), func(b *testing.B) {
			s := newBed(b).open(b, "bench")
			for i := range n {
				put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%06d", i), "w"))
			}
			for b.Loop() {
				seen := 0
				for opts := (store.ListOptions{Limit: 100}); ; {
					page, err := s.List(b.Context(), opts)
					must(b, err)
					seen += len(page.Records)
					if opts.After = page.Next; page.Next == "" {
						break
					}
				}
				if seen != n {
					b.Fatalf("%d of %d records", seen, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}
