package vault_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"credbus/subjects"
)

// BenchmarkMiss compares a Get of 256 bytes with the SDK's own call for the same secret,
// in turns: each sub-benchmark calls both, and reports one of them.
func BenchmarkMiss(b *testing.B) {
	bed := sharedBed(b)
	for _, native := range []bool{false, true} {
		form := map[bool]string{false: "sealed", true: "native"}[native]
		config := bed.config(b)
		config.Native = native
		s := open(b, config)
		rec := newRecord("org:acme/team:eng", "key", "w1")
		rec.Payload = bytes.Repeat([]byte("x"), 256)
		if native {
			rec.Payload, rec.Data = nil, subjects.Value(rec.Payload)
		}
		put(b, s, rec)
		own := bed.client(b, config.Token).KVv2("secret")
		ways := map[string]func(context.Context) error{
			"driver": func(ctx context.Context) error { _, err := s.Get(ctx, rec.Target); return err },
			"sdk": func(ctx context.Context) error {
				_, err := own.Get(ctx, config.Path+"/"+rec.Target.String())
				return err
			},
		}
		for _, way := range []string{"driver", "sdk"} {
			b.Run(form+"/"+way, func(b *testing.B) {
				times := make(map[string][]time.Duration)
				for b.Loop() {
					for _, way := range []string{"driver", "sdk"} {
						begun := time.Now()
						if err := ways[way](b.Context()); err != nil {
							b.Fatal(err)
						}
						times[way] = append(times[way], time.Since(begun))
					}
				}
				own := times[way]
				slices.Sort(own)
				b.ReportMetric(0, "ns/op") // the sum of both means nothing
				b.ReportMetric(float64(own[len(own)/2]), "p50-ns")
				b.ReportMetric(float64(own[len(own)*99/100]), "p99-ns")
			})
		}
	}
}
