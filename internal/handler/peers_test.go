package handler

import (
	"slices"
	"testing"
	"time"

	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// A replica that got no question for long still counts: a request waits for it, and names it
// if it does not answer. It is forgotten only if it leaves questions unanswered for long.
func TestPeersAreForgottenOnlyWhenAsked(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var p peers
		p.heard("a")
		p.heard("b")
		ask := func(answers ...string) []string {
			answered := make(map[string]bool)
			for _, name := range answers {
				answered[name] = true
				p.heard(name)
			}
			missing := p.missing(answered)
			p.unheard(missing)
			return missing
		}
		for _, step := range []struct {
			after   time.Duration
			answers []string
			missing []string
		}{
			{24 * time.Hour, nil, []string{"a", "b"}},
			{forgetAfter / 2, []string{"a"}, []string{"b"}},
			{forgetAfter, []string{"a"}, []string{"b"}}, // the last time
			{time.Second, []string{"a"}, nil},
			{24 * time.Hour, nil, []string{"a"}},
			{time.Second, []string{"a"}, nil},
			{24 * time.Hour, nil, []string{"a"}}, // b has answered, so it is known again
			{forgetAfter / 2, nil, []string{"a"}},
		} {
			time.Sleep(step.after)
			if missing := ask(step.answers...); !slices.Equal(missing, step.missing) {
				t.Errorf("%v later, asked and answered by %v: %v are missing, want %v", step.after, step.answers, missing, step.missing)
			}
		}
	})
}

// There may be more replicas than a reply can name. Then no more are remembered, and the known
// ones stay known.
func TestPeersAreBounded(t *testing.T) {
	var p peers
	for i := range subjects.MaxReplicas + 1 {
		p.heard(string(rune('a' + i)))
	}
	if n := len(p.missing(nil)); n != subjects.MaxReplicas {
		t.Errorf("%d are known", n)
	}
}
