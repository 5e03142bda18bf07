package aws_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/subjects"
)

// BenchmarkMiss compares a read by the driver with the SDK's own call for the same
// value, in turns. The server is the fake on this machine, so the numbers show what
// each of the two adds.
func BenchmarkMiss(b *testing.B) {
	for _, native := range []bool{false, true} {
		form := map[bool]string{false: "sealed", true: "native"}[native]
		bed := newBed(b)
		config := bed.config()
		config.Native = native
		s, client := open(b, config), bed.client()
		rec := newRecord("org:acme/team:eng", "key", "1")
		rec.Payload = bytes.Repeat([]byte("x"), 256)
		if native {
			rec.Payload, rec.Data = nil, dataOf("username", "app", "password", "correct-horse-battery")
		}
		put(b, s, rec)
		input := &secretsmanager.GetSecretValueInput{SecretId: ptr(nameOf(rec.Target))}
		ways := map[string]func(context.Context) error{
			"driver": func(ctx context.Context) error { _, err := s.Get(ctx, rec.Target); return err },
			"sdk":    func(ctx context.Context) error { _, err := client.GetSecretValue(ctx, input); return err },
		}
		times := make(map[string][]time.Duration)
		for _, way := range []string{"driver", "sdk"} {
			b.Run(form+"/"+way, func(b *testing.B) {
				other := map[string]string{"driver": "sdk", "sdk": "driver"}[way]
				clear(times)
				for range b.N {
					for _, way := range []string{way, other} {
						begun := time.Now()
						if err := ways[way](b.Context()); err != nil {
							b.Fatal(err)
						}
						times[way] = append(times[way], time.Since(begun))
					}
				}
				report(b, times[way])
			})
		}
	}
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	at := func(part float64) float64 { return float64(times[int(part*float64(len(times)-1))]) }
	b.ReportMetric(at(0.50), "p50-ns")
	b.ReportMetric(at(0.99), "p99-ns")
}

// BenchmarkBatch reads 100 credentials from a server that takes 20 ms to answer,
// by GetMulti, and by single reads, ten at a time, as a batch command does otherwise.
func BenchmarkBatch(b *testing.B) {
	const n, atOnce, latency = 100, 10, 20 * time.Millisecond
	server := newServer(b)
	slow := httptest.NewServer(after(latency, server))
	b.Cleanup(slow.Close)
	config := (&bed{Server: server, url: slow.URL}).config()
	s := open(b, config)
	var keys []subjects.Target
	var puts sync.WaitGroup
	for i := range n {
		rec := newRecord("org:acme", fmt.Sprint("key-", i), "1")
		rec.Payload = bytes.Repeat([]byte("x"), 256)
		keys = append(keys, rec.Target)
		puts.Go(func() {
			if _, err := s.Put(b.Context(), rec, store.Precondition{}); err != nil {
				b.Error(err)
			}
		})
	}
	puts.Wait()
	b.Run("GetMulti", func(b *testing.B) {
		for range b.N {
			if _, err := s.GetMulti(b.Context(), keys); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Get", func(b *testing.B) {
		for range b.N {
			getAll(b, s, keys, atOnce)
		}
	})
}

func getAll(b *testing.B, s *aws.Store, keys []subjects.Target, atOnce int) {
	turns := make(chan struct{}, atOnce)
	var gets sync.WaitGroup
	for _, key := range keys {
		turns <- struct{}{}
		gets.Go(func() {
			defer func() { <-turns }()
			if _, err := s.Get(b.Context(), key); err != nil {
				b.Error(err)
			}
		})
	}
	gets.Wait()
}
