package aws_test

import (
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/aws/awstest"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
)

// The fake is paused, killed and started again like a process.
func TestFaults(t *testing.T) {
	for name, native := range map[string]bool{"Sealed": false, "Native": true} {
		t.Run(name, func(t *testing.T) {
			var served *awstest.Bed
			storetest.RunFaults(t, storetest.FaultHarness{
				Open: func(t *testing.T) store.Store {
					server := newServer(t)
					served = awstest.NewBed(t, server)
					config := (&bed{Server: server, url: served.URL()}).config()
					config.Native = native
					return policy.New(open(t, config), policy.Config{Retries: 5, BreakerFailures: 10})
				},
				Pause:    func(*testing.T) { served.Pause() },
				Resume:   func(*testing.T) { served.Resume() },
				Kill:     func(*testing.T) { served.Kill() },
				Restart:  func(t *testing.T) { served.Restart(t) },
				Features: storetest.Features{Native: native},
			})
		})
	}
}
