package storetest

import (
	"testing"

	"credbus/internal/store"
)

// BenchmarkWalk walks over a store of n records, limit on a page, and reports
// the time for each record. That must not grow with n.
func BenchmarkWalk(b *testing.B, s store.Store, n, limit int) {
	for b.Loop() {
		seen := 0
		for opts := (store.ListOptions{Limit: limit}); ; {
			page, err := s.List(b.Context(), opts)
			if err != nil {
				b.Fatal(err)
			}
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
}
