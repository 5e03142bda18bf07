package client_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

// replies answers as a worker would. answer gets the number of the request, from 1 on, and
// returns the reply and its delay; a negative delay means no reply.
func replies(t *testing.T, cfg *client.Config, answer func(n int32) (*nats.Msg, time.Duration)) (c *client.Client, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	var waiting sync.WaitGroup
	t.Cleanup(waiting.Wait)
	c = fakeWorker(t, cfg, func(msg *nats.Msg) *nats.Msg {
		reply, after := answer(asked.Add(1))
		if after == 0 || after < 0 {
			if after < 0 {
				return nil
			}
			return reply
		}
		waiting.Add(1)
		time.AfterFunc(after, func() {
			defer waiting.Done()
			_ = msg.RespondMsg(reply) // the test may have ended
		})
		return nil
	})
	return c, asked
}

// A read that several workers leave unanswered is sent again until one answers.
func TestHedgedReads(t *testing.T) {
	const unanswered = 7
	c, asked := replies(t, &client.Config{Retries: -1}, func(n int32) (*nats.Msg, time.Duration) {
		if n > 1 && n <= 1+unanswered {
			return nil, -1
		}
		return retrieveReply("a"), 0
	})
	for range 2 { // the first measures how long a reply takes
		if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n < 2+unanswered {
		t.Errorf("sent %d times", n)
	}
}

func TestHedgingIsOff(t *testing.T) {
	c, asked := replies(t, &client.Config{Hedge: -1, Timeout: 300 * time.Millisecond}, func(n int32) (*nats.Msg, time.Duration) {
		return retrieveReply("a"), map[bool]time.Duration{true: 0, false: -1}[n == 1]
	})
	if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err == nil || asked.Load() != 2 {
		t.Errorf("sent %d times: %v", asked.Load(), err)
	}
}

// Writes go to one worker, and so do questions about a job that make a worker register it.
func TestWritesAreNotHedged(t *testing.T) {
	c, asked := replies(t, &client.Config{Timeout: 300 * time.Millisecond}, func(n int32) (*nats.Msg, time.Duration) {
		return retrieveReply("a"), map[bool]time.Duration{true: 0, false: -1}[n == 1]
	})
	if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func() error{
		"store": func() error {
			_, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
			return err
		},
		"delete": func() error { return c.Delete(t.Context(), "org:a", "a", nil) },
		"store batch": func() error {
			_, err := c.StoreBatch(t.Context(), "org:a", storeItems(2, "1"), nil)
			return err
		},
		"delete batch": func() error {
			_, err := c.DeleteBatch(t.Context(), "org:a", []client.DeleteItem{{ID: "a"}}, nil)
			return err
		},
		"cancel": func() error { _, err := c.CancelJob(t.Context(), "org:a", "a"); return err },
		"retry":  func() error { _, err := c.RetryJob(t.Context(), "org:a", "a"); return err },
		"drop":   func() error { _, err := c.DropJob(t.Context(), "org:a", "a"); return err },
		"clear":  func() error { _, err := c.ClearCache(t.Context(), "org:a", "a"); return err },
		"submit": func() error {
			_, err := c.ValidateJob(t.Context(), "org:a", targets(1), &client.JobOptions{Submission: "named"})
			return err
		},
	} {
		before := asked.Load()
		if err := write(); err == nil || asked.Load() != before+1 {
			t.Errorf("%s was sent %d times: %v", name, asked.Load()-before, err)
		}
	}
}

// If a full worker refuses a hedge, that does not end a read that another worker is about
// to answer.
func TestHedgeOfAFullWorker(t *testing.T) {
	full := subjects.Errorf(subjects.ResourceExhausted, "full")
	full.Retryable = true
	c, _ := replies(t, &client.Config{Retries: -1, Hedge: 100 * time.Millisecond}, func(n int32) (*nats.Msg, time.Duration) {
		switch n {
		case 1:
			return retrieveReply("a"), 0
		case 2:
			return retrieveReply("a"), 150 * time.Millisecond
		}
		return refusal(full), 0
	})
	for range 2 {
		if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
			t.Errorf("retrieve: %v", err)
		}
	}
	if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); !errors.Is(err, client.ErrResourceExhausted) {
		t.Errorf("all workers are full: %v", err)
	}
}

// If all workers become slow for good, they do not get twice the load: hedges are a tenth
// of the reads and 100 more, even if chance decides which copy is answered first.
func TestHedgesOfSlowWorkers(t *testing.T) {
	for name, slow := range map[string]func() time.Duration{
		"evenly":  func() time.Duration { return 30 * time.Millisecond },
		"by luck": func() time.Duration { return time.Duration(rand.ExpFloat64() * float64(20*time.Millisecond)) },
	} {
		t.Run(name, func(t *testing.T) {
			const quick, reads, readers = 300, 2000, 40
			c, asked := replies(t, &client.Config{Timeout: time.Minute}, func(n int32) (*nats.Msg, time.Duration) {
				if n <= quick {
					return retrieveReply("a"), 0
				}
				return retrieveReply("a"), max(slow(), 1)
			})
			for range quick {
				if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
					t.Fatal(err)
				}
			}
			before := asked.Load()
			var group sync.WaitGroup
			for range readers {
				group.Go(func() {
					for range reads / readers {
						if _, err := c.Retrieve(t.Context(), "org:a", "a", nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			hedges := asked.Load() - before - reads
			t.Logf("%d hedges of %d reads", hedges, reads)
			// Replies of the last hedges are on their way, and not paid for yet.
			if most := int32(reads/10 + 100 + readers*5); hedges > most {
				t.Errorf("%d hedges of %d reads, want at most %d", hedges, reads, most)
			}
		})
	}
}

// BenchmarkHedging measures reads with and without hedging: for allocations each by
// itself, and for time in turns, so that both see the same machine.
func BenchmarkHedging(b *testing.B) {
	open := func(b *testing.B, hedge time.Duration) (read func()) {
		c, err := client.Connect(workerURL, &client.Config{Hedge: hedge})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		if _, err := c.Store(b.Context(), "bench:hedge", "a", client.Value(make([]byte, 256)), nil); err != nil {
			b.Fatal(err)
		}
		return func() {
			cred, err := c.Retrieve(b.Context(), "bench:hedge", "a", nil)
			if err != nil {
				b.Fatal(err)
			}
			cred.Wipe()
		}
	}
	for name, hedge := range map[string]time.Duration{"on": 0, "off": -1} {
		b.Run(name, func(b *testing.B) {
			read := open(b, hedge)
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
	b.Run("in turns", func(b *testing.B) {
		on, off := open(b, 0), open(b, -1)
		const reads = 200
		took := func(read func()) time.Duration {
			begin := time.Now()
			for range reads {
				read()
			}
			return time.Since(begin) / reads
		}
		var with, without []time.Duration
		for b.Loop() {
			with, without = append(with, took(on)), append(without, took(off))
		}
		slices.Sort(with)
		slices.Sort(without)
		b.ReportMetric(float64(with[len(with)/2].Nanoseconds()), "ns/read-on")
		b.ReportMetric(float64(without[len(without)/2].Nanoseconds()), "ns/read-off")
	})
}
