package vault_test

import (
	"fmt"
	"testing"

	"credbus/internal/store/storetest"
)

// BenchmarkWalk walks over a whole path.
//
//	go test ./internal/store/vault -run '^$' -bench Walk -benchtime 1x
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("%d/by100", n), func(b *testing.B) {
			bed := sharedBed(b)
			s := open(b, bed.config(b))
			for i := range n {
				put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%06d", i), "w"))
			}
			storetest.BenchmarkWalk(b, s, n, 100)
		})
	}
}
