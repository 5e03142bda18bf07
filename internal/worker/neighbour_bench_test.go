package worker

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"credbus/client"
	"credbus/subjects"
)

// BenchmarkNeighbour measures the hits of a calm tenant, 500 a second, alone and beside a loud
// one, whose 64 callers do what they can. The rounds alternate, and the figures are medians over
// the rounds. The loud callers use the client, which comes back when a refusal says so, or send
// requests raw, whatever they are answered.
func BenchmarkNeighbour(b *testing.B) {
	for _, of := range []struct {
		name   string
		limits string
		raw    bool
	}{
		{"no_limit", "", false}, {"limit", "org:loud=1000", false}, {"limit_raw", "org:loud=1000", true},
	} {
		b.Run(of.name, func(b *testing.B) {
			bed := newBed(b, "CREDBUS_STORE_TYPE=memory", "CREDBUS_LIMITS_REQUESTS="+of.limits)
			bed.put(b, "org:calm", "id", "v")
			bed.put(b, "org:loud", "id", "v")
			calm := neighbour(b, bed)
			loud := neighbour(b, bed)
			var alone, beside, ratios []float64
			rounds := 5
			if testing.Short() {
				rounds = 1
			}
			for b.Loop() {
				for range rounds {
					quiet := p99(b, calm)
					stop := shout(b, bed, loud, of.raw)
					noisy := p99(b, calm)
					stop()
					alone, beside = append(alone, microseconds(quiet)), append(beside, microseconds(noisy))
					ratios = append(ratios, float64(noisy)/float64(quiet))
				}
			}
			b.ReportMetric(middle(alone), "us-p99-alone")
			b.ReportMetric(middle(beside), "us-p99-beside")
			b.ReportMetric(middle(ratios), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func neighbour(b *testing.B, bed *bed) *client.Client {
	b.Helper()
	c, err := client.Connect("", &client.Config{Context: bed.ClientContext(), Timeout: 20 * time.Second, Hedge: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

// p99 is the 99th percentile of the hits of a second.
func p99(b *testing.B, c *client.Client) time.Duration {
	b.Helper()
	var took []time.Duration
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for range 500 {
		<-ticker.C
		begun := time.Now()
		if _, err := c.Retrieve(b.Context(), "org:calm", "id", nil); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// shout makes 64 callers of the loud tenant ask until stop is called.
func shout(b *testing.B, bed *bed, loud *client.Client, raw bool) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var callers sync.WaitGroup
	subject := subjects.DefaultPrefix.Command(subjects.Retrieve, "org:loud")
	body := subjects.Append(nil, retrieve("id"))
	conn := connect(b, bed.ClientContext())
	for range 64 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if raw {
					_, _ = conn.RequestWithContext(ctx, subject, body)
				} else {
					_, _ = loud.Retrieve(ctx, "org:loud", "id", nil)
				}
			}
		})
	}
	time.Sleep(1500 * time.Millisecond) // until what it may take at once is taken
	return func() {
		cancel()
		callers.Wait()
		conn.Close()
		time.Sleep(200 * time.Millisecond)
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
