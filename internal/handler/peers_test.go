package handler

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"credbus/subjects"
)

// A replica that was not asked for long is not gone: it is waited for, and named
// when it does not answer. Only who is asked in vain for long is forgotten.
func TestPeersAreForgottenOnlyWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
			{24 * time.Hour, nil, []string{"a"}}, // since it has answered
			{forgetAfter / 2, nil, []string{"a"}},
		} {
			time.Sleep(step.after)
			if missing := ask(step.answers...); !slices.Equal(missing, step.missing) {
				t.Errorf("%v later, asked and answered by %v: %v are missing, want %v", step.after, step.answers, missing, step.missing)
			}
		}
	})
}

// Of more replicas than a reply names, those that are known stay known.
func TestPeersAreBounded(t *testing.T) {
	var p peers
	for i := range subjects.MaxReplicas + 1 {
		p.heard(string(rune('a' + i)))
	}
	if n := len(p.missing(nil)); n != subjects.MaxReplicas {
		t.Errorf("%d are known", n)
	}
}
