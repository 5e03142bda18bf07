package kubernetes_test

import (
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/store/storetest"
)

// Both forms pass the suite with no more rights than deploy/kubernetes/rbac.yaml
// gives.
func TestConformance(t *testing.T)       { conformance(t, false) }
func TestConformanceNative(t *testing.T) { conformance(t, true) }

func conformance(t *testing.T, native bool) {
	b := shared(t)
	config := kubernetes.Config{Native: native}
	var n *namespace // of the store opened last
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			n = b.namespace(t)
			return n.open(t, config)
		},
		Damage: func(t *testing.T, _ store.Store, key store.Key) {
			if native {
				n.patch(t, key, `{"metadata":{"annotations":{"credbus.io/metadata":"{no more"}}}`)
			} else {
				n.patch(t, key, `{"data":{"record":"Y3JlZGJ1cwEgbm8gbW9yZQ=="}}`)
			}
		},
		Other:    func(t *testing.T, _ store.Store) store.Store { return n.open(t, config) },
		Features: storetest.Features{Unordered: true, Native: native},
	})
}
