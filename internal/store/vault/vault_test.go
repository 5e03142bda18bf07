package vault_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/storetest"
	"credbus/internal/store/vault"
	"credbus/internal/testbed/lagproxy"
	"credbus/subjects"
)

// The store passes the suite with only the policy of deploy/vault.
func TestConformance(t *testing.T)       { conformance(t, false) }
func TestConformanceNative(t *testing.T) { conformance(t, true) }

func conformance(t *testing.T, native bool) {
	b := sharedBed(t)
	var config vault.Config // of the store opened last
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			config = b.config(t)
			config.Native = native
			return open(t, config)
		},
		Damage: func(t *testing.T, _ store.Store, key subjects.Target) {
			spoilt := map[string]any{"credbus:sealed": "Y3JlZGJ1cwE="}
			if native {
				spoilt = map[string]any{"credbus:record": `{"version":`, "value": "x"}
			}
			_, err := b.kv().Put(t.Context(), config.Path+"/"+key.String(), spoilt)
			must(t, err)
		},
		Plant: func(t *testing.T, _ store.Store, key subjects.Target, value string) {
			path := config.Path + "/" + key.String()
			_, err := b.kv().Put(t.Context(), path, map[string]any{"value": value})
			must(t, err)
			must(t, b.kv().PutMetadata(t.Context(), path, api.KVMetadataPutInput{CustomMetadata: map[string]any{"planted": "yes"}}))
		},
		Behind: func(t *testing.T) (writer, reader store.Store, catchUp func()) {
			proxy := lagproxy.New(t, b.Fact("address"), lagproxy.Config{Lag: time.Hour})
			c := b.config(t)
			c.Native, c.Address = native, proxy.Active
			writer = open(t, c)
			c.Address = proxy.Standby
			return writer, open(t, c), proxy.CatchUp
		},
		Other:    func(t *testing.T, _ store.Store) store.Store { return open(t, config) },
		Features: storetest.Features{Native: native},
	})
}
