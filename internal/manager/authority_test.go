package manager_test

import (
	"testing"

	"credbus/internal/manager"
	"credbus/subjects"
)

// A refusal must return nothing usable: the root scope without an ID names no
// credential.
func TestRefusalYieldsNoTarget(t *testing.T) {
	for _, foreign := range []subjects.Scope{"org:b", "org:a", "org:a/team:y", "org:a/team:x2"} {
		const authority = subjects.Scope("org:a/team:x")
		if scope, err := manager.Within(authority, foreign); err == nil || scope != "" {
			t.Errorf("%s at %s is %q, %v", foreign, authority, scope, err)
		}
		if resolve, err := manager.ResolveWithin(authority, &foreign); err == nil || resolve != nil {
			t.Errorf("a batch of %s at %s is resolved: %v", foreign, authority, err)
		}
		var own subjects.Scope
		resolve, err := manager.ResolveWithin(authority, &own)
		if err != nil || own != authority {
			t.Fatal(own, err)
		}
		if target, err := resolve(subjects.Target{Scope: foreign, ID: "db"}); err == nil || target != (subjects.Target{}) {
			t.Errorf("an item of %s at %s is %+v, %v", foreign, authority, target, err)
		}
	}
}
