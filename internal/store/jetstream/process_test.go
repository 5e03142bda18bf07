package jetstream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed"
)

// The server is a process of its own. It is paused, killed and started again.
func TestFaults(t *testing.T) {
	bed := testbed.Start(t, "nats")
	buckets := 0
	storetest.RunFaults(t, storetest.FaultHarness{
		Open: func(t *testing.T) store.Store {
			// Like the connection of a worker, except for the shorter ReconnectWait.
			nc, err := nats.Connect(bed.Fact("address"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
				nats.ReconnectBufSize(-1), nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2))
			must(t, err)
			t.Cleanup(nc.Close)
			buckets++
			driver, err := jetstream.New(t.Context(), nc, jetstream.Config{Bucket: fmt.Sprint("faults-", buckets)})
			must(t, err)
			return policy.New(driver, policy.Config{Retries: 5, BreakerFailures: 10})
		},
		Pause:   func(t *testing.T) { bed.Pause(t) },
		Resume:  func(t *testing.T) { bed.Resume(t) },
		Kill:    func(*testing.T) { bed.Kill() },
		Restart: func(t *testing.T) { bed.Restart(t) },
	})
}
