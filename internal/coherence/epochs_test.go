package coherence

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"credbus/subjects"
)

// Whatever is flushed, the number of remembered scopes stays bounded, no flush is
// forgotten, and another tenant's reads stay valid.
func TestEpochsAreBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for name, scope := range map[string]func(i int) string{
		"siblings":          func(i int) string { return fmt.Sprintf("org:noisy/team:%d", i) },
		"no siblings":       func(i int) string { return fmt.Sprintf("org:noisy/team:%d/app:x", i) },
		"deep, no siblings": func(i int) string { return fmt.Sprintf("org:noisy/team:%d/app:x/env:y/part:z", i) },
		"of any depth": func(i int) string {
			scope := "org:noisy"
			for level := range random.IntN(5) {
				scope += fmt.Sprintf("/l%d:%d", level, random.IntN(1+i%50))
			}
			return scope
		},
	} {
		t.Run(name, func(t *testing.T) {
			var e epochs
			quiet := e.of("org:quiet/team:a", "")
			flushed := make(map[subjects.Scope]uint64)
			for i := range 5000 {
				s := subjects.Scope(scope(i))
				e.flush(s)
				flushed[s] = e.last
				if len(e.scopes) > maxEpochs {
					t.Fatalf("%d scopes are remembered after %d flushes", len(e.scopes), i+1)
				}
			}
			for s, at := range flushed {
				if got := e.of(s+"/below:it", ""); got < at {
					t.Fatalf("the flush of %s is forgotten: %d, want at least %d", s, got, at)
				}
			}
			if e.of("org:quiet/team:a", "") != quiet {
				t.Error("the reads of another tenant are void")
			}
		})
	}
}

// The deepest scopes of a tenant are the first to be replaced.
func TestFoldReplacesDeepestScopesFirst(t *testing.T) {
	var e epochs
	for i := range maxEpochs {
		e.flush(subjects.Scope(fmt.Sprintf("org:a/team:%d/app:x", i%8) + fmt.Sprint("/env:", i)))
	}
	e.flush("org:a/team:8")
	if n := len(e.scopes); n != 9 {
		t.Errorf("%d scopes are remembered, want nine", n)
	}
	if e.of("org:a/team:9", "") != 0 {
		t.Error("reads of a team are void, though nothing of it was flushed")
	}
}
