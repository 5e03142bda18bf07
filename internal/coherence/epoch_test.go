package coherence_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/subjects"
)

// A flush voids the reads under way of its scope and those below, and no others.
func TestFlushConcernsItsSubtree(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		flush := func(scope subjects.Scope) {
			t.Helper()
			at, err := r.Flush(t.Context(), subjects.Target{Scope: scope})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Await(t.Context(), at); err != nil {
				t.Fatal(err)
			}
		}
		fills := func(scope, flushed subjects.Scope) bool {
			t.Helper()
			key := subjects.Target{Scope: scope, ID: "db"}
			token := mustToken(t, r, key)
			flush(flushed)
			return r.Fill(key, token, coherence.Answer{}, func() {})
		}
		for _, test := range []struct {
			scope, flushed subjects.Scope
			want           bool
		}{
			{"org:acme/team:eng", "org:acme/team:eng", false},
			{"org:acme/team:eng/service:api", "org:acme", false},
			{"org:acme/team:eng", "", false},
			{"org:acme", "org:acme/team:eng", true},
			{"org:acme/team:eng", "org:acme/team:web", true},
			{"org:acme-labs", "org:acme", true},
			{"org:other", "org:acme", true},
		} {
			if got := fills(test.scope, test.flushed); got != test.want {
				t.Errorf("a read of %s, during a flush of %q, fills: %v, want %v", test.scope, test.flushed, got, test.want)
			}
		}
		// One tenant flushes more scopes than are remembered: all of its reads are void.
		own, others := mustToken(t, r, subjects.Target{Scope: "org:noisy/team:idle", ID: "db"}), mustToken(t, r, key)
		for i := range 1100 {
			flush(subjects.Scope(fmt.Sprintf("org:noisy/team:t%d", i)))
		}
		synctest.Wait()
		if r.Fill(subjects.Target{Scope: "org:noisy/team:idle", ID: "db"}, own, coherence.Answer{}, func() {}) {
			t.Error("flushes that are not remembered one by one are forgotten")
		}
		if !r.Fill(key, others, coherence.Answer{}, func() {}) {
			t.Error("a tenant that flushes many of its scopes voids the reads of another")
		}
		// So many tenants flush: all reads are void.
		token := mustToken(t, r, key)
		for i := range 1100 {
			flush(subjects.Scope(fmt.Sprintf("org:o%d", i)))
		}
		synctest.Wait()
		if r.Fill(key, token, coherence.Answer{}, func() {}) {
			t.Error("flushes that are not remembered one by one are forgotten")
		}
	})
}

// So does the watch of a store that has to start over.
func TestChangedAllConcernsItsScopes(t *testing.T) {
	run(t, 1, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		other := subjects.Target{Scope: "org:other", ID: "db"}
		own, others := mustToken(t, r, key), mustToken(t, r, other)
		r.ChangedAll("org:acme")
		if r.Fill(key, own, coherence.Answer{}, func() {}) || !r.Fill(other, others, coherence.Answer{}, func() {}) {
			t.Error("a watch that starts over voids another set of reads than those of its scopes")
		}
		if dropped := r.cache.take(); len(dropped) != 1 || dropped[0] != "org:acme/**" {
			t.Errorf("it drops %q", dropped)
		}
	})
}
