package coherence_test

import (
	"fmt"
	"slices"
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
		// One tenant flushes more scopes than are remembered, so all of its reads are void.
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
		// Too many tenants flush, so all reads are void.
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

// When the watch of a store starts over, reads of its records under way are void and its
// cached records are dropped, but those of no other store. Routes nest: below the scope of
// one store is a scope of another, and below that one of the first store again.
func TestChangedAllConcernsItsStore(t *testing.T) {
	keepers := map[subjects.Scope]string{
		"": "default", "org:acme": "vault", "org:acme/team:lab": "files", "org:acme/team:lab/env:public": "default",
	}
	keeper := func(scope subjects.Scope) string {
		for keepers[scope] == "" {
			scope = scope.Parent()
		}
		return keepers[scope]
	}
	scopes := []string{"org:other", "org:acme", "org:acme/team:eng", "org:acme/team:lab", "org:acme/team:lab/env:test", "org:acme/team:lab/env:public"}
	runWith(t, 1, coherence.Config{Store: keeper}, func(t *testing.T, _ *coherencetest.Log, replicas []replica) {
		r := replicas[0]
		r.cache.scopes = scopes
		for _, name := range []string{"default", "vault", "files", "default", "spare"} {
			tokens := make(map[string]coherence.Token)
			for _, scope := range scopes {
				tokens[scope] = mustToken(t, r, subjects.Target{Scope: subjects.Scope(scope), ID: "db"})
			}
			r.ChangedAll(name)
			var want []string
			for _, scope := range scopes {
				own := keeper(subjects.Scope(scope)) == name
				if own {
					want = append(want, scope+"/*")
				}
				if filled := fills(r, subjects.Target{Scope: subjects.Scope(scope), ID: "db"}, tokens[scope]); filled == own {
					t.Errorf("%s starts over during a read of %s, which fills: %v", name, scope, filled)
				}
			}
			if dropped := r.cache.take(); !slices.Equal(dropped, want) {
				t.Errorf("%s starts over and drops %q, want %q", name, dropped, want)
			}
		}
	})
}
