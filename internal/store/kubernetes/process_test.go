package kubernetes_test

import (
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed"
)

// The API server is a process of its own. It is paused, killed and started again with
// its etcd.
func TestFaults(t *testing.T)       { faults(t, false) }
func TestFaultsNative(t *testing.T) { faults(t, true) }

func faults(t *testing.T, native bool) {
	server := testbed.Start(t, "kubernetes")
	b := newBed(t, server)
	storetest.RunFaults(t, storetest.FaultHarness{
		Open: func(t *testing.T) store.Store {
			n := b.namespace(t)
			return policy.New(n.open(t, kubernetes.Config{Native: native}), policy.Config{Retries: 5, BreakerFailures: 10})
		},
		Pause:    func(t *testing.T) { server.Pause(t) },
		Resume:   func(t *testing.T) { server.Resume(t) },
		Kill:     func(*testing.T) { server.Kill() },
		Restart:  func(t *testing.T) { server.Restart(t) },
		Features: storetest.Features{Native: native},
	})
}
