package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"credbus/subjects"
)

// BenchmarkJobs stores the same number of new credentials by jobs and by batch
// requests, in turns, as many batches at once as the worker runs jobs.
// of-requests is the ratio of the two rates in items. Then it retrieves cached
// credentials at a steady rate, in turns with and without jobs that store
// running: p99-with-jobs is how many times longer the slowest hundredth then
// waits.
func BenchmarkJobs(b *testing.B) {
	const (
		items = subjects.MaxBatchItems
		jobs  = 10 // a round
		scope = subjects.Scope("org:acme/team:eng")
	)
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	bed := newBed(b)
	serial := 0
	batch := func() (batch []subjects.StoreItem) {
		serial++
		for i := range items {
			batch = append(batch, item(subjects.ID(fmt.Sprintf("key-%d-%d", serial, i)), "a value of some length, as most of them have"))
		}
		return batch
	}
	byRequests := func() {
		var senders sync.WaitGroup
		for range bed.config.Jobs.Concurrency {
			var share [][]subjects.StoreItem
			for range jobs / bed.config.Jobs.Concurrency {
				share = append(share, batch())
			}
			senders.Go(func() {
				for _, items := range share {
					var reply subjects.StoreBatchReply
					bed.must(b, subjects.StoreBatch, scope, &subjects.StoreBatchRequest{Items: items}, &reply)
				}
			})
		}
		senders.Wait()
	}
	byJobs := func(n int) {
		var ids []subjects.ID
		for range n {
			items := batch()
			ids = append(ids, subjects.ID(fmt.Sprint("job-", serial)))
			bed.submit(b, scope, subjects.Job{ID: ids[len(ids)-1]}, items...)
		}
		for _, id := range ids {
			if done := bed.awaitJob(b, scope, id); done.Succeeded != items {
				b.Fatalf("job %s is %s: %s", id, done.State, done.Reason)
			}
		}
	}
	byJobs(1)
	byRequests()

	var requests, queued []float64 // items a second
	for range rounds {
		for name, way := range map[*[]float64]func(){&requests: byRequests, &queued: func() { byJobs(jobs) }} {
			time.Sleep(time.Second) // jobs give way for a moment to requests that came before
			begun := time.Now()
			way()
			*name = append(*name, jobs*items/time.Since(begun).Seconds())
		}
	}

	bed.put(b, scope, "hot", "value")
	idle := func() (stop func()) { return func() {} }
	busy := func() (stop func()) {
		ctx, cancel := context.WithCancel(b.Context())
		var running sync.WaitGroup
		running.Go(func() {
			for ctx.Err() == nil {
				byJobs(jobs)
			}
		})
		return func() { cancel(); running.Wait() }
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(queued), "items/s-by-jobs")
	b.ReportMetric(median(requests), "items/s-by-requests")
	b.ReportMetric(median(queued)/median(requests), "of-requests")
	for name, load := range map[string]struct {
		callers int
		pause   time.Duration
	}{"few": {1, time.Millisecond}, "many": {64, 0}} {
		quiet := hits(b, bed, scope, rounds, load.callers, load.pause, idle)
		loaded := hits(b, bed, scope, rounds, load.callers, load.pause, busy)
		b.ReportMetric(quiet, "p99-of-"+name+"-µs")
		b.ReportMetric(loaded, "p99-of-"+name+"-with-jobs-µs")
		b.ReportMetric(loaded/quiet, "times-p99-of-"+name)
	}
}

// hits retrieves a cached credential, from some callers at once that pause between
// their requests, some rounds, while load runs. It returns the median of the rounds'
// 99th percentiles, in µs.
func hits(b *testing.B, bed *bed, scope subjects.Scope, rounds, callers int, pause time.Duration, load func() (stop func())) float64 {
	subject, body := subjects.DefaultPrefix.Command(subjects.Retrieve, scope), subjects.Append(nil, retrieve("hot"))
	nc := connect(b, bed.ClientContext())
	stop := load()
	defer stop()
	const requests = 5000 // a round
	var p99s []float64
	for range rounds {
		var mu sync.Mutex
		var took []float64
		var calling sync.WaitGroup
		for range callers {
			calling.Go(func() {
				for range requests / callers {
					time.Sleep(pause)
					begun := time.Now()
					_, err := nc.Request(subject, body, requestTimeout)
					if err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					took = append(took, float64(time.Since(begun).Microseconds()))
					mu.Unlock()
				}
			})
		}
		calling.Wait()
		slices.Sort(took)
		p99s = append(p99s, took[len(took)*99/100])
	}
	return median(p99s)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
