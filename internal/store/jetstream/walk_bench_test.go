package jetstream_test

import (
	"fmt"
	"testing"

	"credbus/internal/store/storetest"
)

// BenchmarkWalk walks over a whole bucket.
//
//	go test ./internal/store/jetstream -run '^$' -bench Walk -benchtime 1x
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprintf("%d/by100", n), func(b *testing.B) {
			s := newBed(b).open(b, "bench")
			for i := range n {
				put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%06d", i), "w"))
			}
			storetest.BenchmarkWalk(b, s, n, 100)
		})
	}
}
