package limits

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/subjects"
)

func number(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

func rulesOf(t testing.TB, texts ...string) (list []Rule) {
	t.Helper()
	for _, text := range texts {
		rule, err := ParseRule(text, number)
		if err != nil {
			t.Fatal(err)
		}
		if rule.String() != text {
			t.Errorf("%s is read as %s", text, rule)
		}
		list = append(list, rule)
	}
	return list
}

func TestParseRule(t *testing.T) {
	rulesOf(t, "org:acme=1", "org:*=9000", "org:acme/team:*=3", "org:acme/team:eng=4")
	for _, wrong := range []string{
		"", "=1", "*=1", "org=1", "org:acme", "org:acme=", "org:acme=0", "org:acme=-1", "org:acme=many",
		"org:*/team:eng=1", "org:a*=1", ":*=1", "org:acme/=1", "*:acme=1", "org:**=1",
	} {
		if rule, err := ParseRule(wrong, number); err == nil {
			t.Errorf("%q is read as %v", wrong, rule)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"org:acme=1", "org:*=10", "org:acme/team:*=7", ":*=", "=", "org:*/x:y=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := ParseRule(text, number)
		if err != nil {
			return
		}
		again, err := ParseRule(rule.String(), number)
		if err != nil || again != rule {
			t.Errorf("%q is %v, which is read as %v (%v)", text, rule, again, err)
		}
	})
}

func TestQuotas(t *testing.T) {
	q := NewQuotas(rulesOf(t, "org:*=10", "org:acme=20", "org:acme/team:*=5", "org:beta/team:x/service:y=1"))
	for scope, want := range map[subjects.Scope]string{
		"":                                "[]",
		"org:acme":                        "[{org:acme 20}]",
		"org:acme2":                       "[{org:acme2 10}]",
		"org:acme/team:eng":               "[{org:acme/team:eng 5} {org:acme 20}]",
		"org:acme/team:eng/service:a":     "[{org:acme/team:eng 5} {org:acme 20}]",
		"org:beta/team:x":                 "[{org:beta 10}]",
		"org:beta/team:x/service:y/env:z": "[{org:beta/team:x/service:y 1} {org:beta 10}]",
		"team:acme":                       "[]",
	} {
		if got := fmt.Sprint(q.Of(scope)); got != want {
			t.Errorf("%q is under %s, want %s", scope, got, want)
		}
	}
}

// tally counts how many requests pass.
func tally(n int, ask func() error) (passed int, last error) {
	for range n {
		if err := ask(); err != nil {
			last = err
		} else {
			passed++
		}
	}
	return passed, last
}

func mustRefuse(t *testing.T, err error, after time.Duration, parts ...string) {
	t.Helper()
	if _, ok := errors.AsType[*Refusal](err); !ok {
		t.Fatalf("%#v", err)
	}
	refused, ok := errors.AsType[*subjects.Error](err)
	if !ok || refused.Code != subjects.ResourceExhausted || !refused.Retryable || refused.RetryAfter <= 0 || refused.RetryAfter > after {
		t.Fatalf("%#v", err)
	}
	for _, part := range append(parts, "send it again in "+refused.RetryAfter.String()) {
		if !strings.Contains(refused.Message, part) {
			t.Errorf("%s does not say %q", refused.Message, part)
		}
	}
}

func TestRequests(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=100", "org:acme/team:*=10")})
	now := time.Now()
	team, other := []byte("org:acme/team:eng"), []byte("org:acme/team:ops")
	passed, err := tally(1000, func() error { return l.Take(now, team, 1) })
	if passed != 10 {
		t.Errorf("%d of a team that may have 10", passed)
	}
	mustRefuse(t, err, 100*time.Millisecond, "org:acme/team:eng", "10 requests a second", "limits.requests")
	// What its narrow limit refused was not taken from the wide one.
	if passed, _ := tally(1000, func() error { return l.Take(now, []byte("org:acme"), 1) }); passed != 90 {
		t.Errorf("%d of an org that has 90 left", passed)
	}
	passed, err = tally(10, func() error { return l.Take(now, other, 1) })
	if passed != 0 {
		t.Errorf("%d of a team whose org has nothing left", passed)
	}
	mustRefuse(t, err, 10*time.Millisecond, "org:acme has", "100 requests")
	if passed, _ := tally(1000, func() error { return l.Take(now, []byte("org:acme2/x:y"), 1) }); passed != 100 {
		t.Errorf("%d of another org that may have 100", passed)
	}
	if passed, _ := tally(1000, func() error { return l.Take(now, []byte("team:x"), 1) }); passed != 1000 {
		t.Errorf("%d of a scope without a limit", passed)
	}
	// Over ten seconds, the pace is kept, and a refused request passes when it was told to come.
	for end := now.Add(10 * time.Second); now.Before(end); {
		if err := l.Take(now, team, 1); err != nil {
			now = now.Add(err.(*Refusal).Told.RetryAfter)
			if err := l.Take(now, team, 1); err != nil {
				t.Fatalf("back in time: %v", err)
			}
		}
		passed++
	}
	if passed < 99 || passed > 111 {
		t.Errorf("%d passed in 10 s at 10 a second", passed)
	}
	// A clock that is read earlier gives nothing.
	if passed, _ := tally(10, func() error { return l.Take(now.Add(-time.Hour), team, 1) }); passed > 1 {
		t.Errorf("%d passed in the past", passed)
	}
}

// A scope that does not come back when it is told to learns late of further refusals.
func TestRefusalsAreHeldBack(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=1")})
	now, scope := time.Now(), []byte("org:acme")
	held := func(n int) (held int) {
		for range n {
			if refused, ok := errors.AsType[*Refusal](l.Take(now, scope, 1)); ok && refused.HoldBack == HeldBack {
				held++
			} else if ok && refused.HoldBack != 0 {
				t.Errorf("held back for %v", refused.HoldBack)
			}
		}
		return held
	}
	if n := held(1 + promptRefusals); n != 0 {
		t.Errorf("%d were held back", n)
	}
	if n := held(lateRefusals); n != lateRefusals {
		t.Errorf("%d of %d were held back", n, lateRefusals)
	}
	if refused, ok := errors.AsType[*Refusal](l.Take(now, scope, 1)); !ok || refused.HoldBack != Never {
		t.Errorf("%+v", refused)
	}
	now = now.Add(time.Second)
	if n := held(1 + promptRefusals + 7); n != 7 {
		t.Errorf("a second later, %d were held back, want 7", n)
	}
}

func TestBytes(t *testing.T) {
	l := New(Config{Bytes: rulesOf(t, "org:*=1000")})
	now := time.Now()
	p, err := l.Admit(now, "org:acme/team:eng", 600)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Narrow(now, "org:acme/team:eng"); err != nil {
		t.Fatal(err)
	}
	p.Answered(3000)
	p.Release()
	_, err = l.Admit(now, "org:acme", 1)
	mustRefuse(t, err, 3*time.Second, "org:acme has", "1000 bytes a second", "limits.bytes")
	if err := l.Take(now.Add(2500*time.Millisecond), []byte("org:acme"), 1); err == nil {
		t.Error("2,600 bytes too many were forgotten before their time")
	}
	if err := l.Take(now.Add(2700*time.Millisecond), []byte("org:acme"), 1); err != nil {
		t.Error(err)
	}
}

// What is refused has taken nothing, neither of the limit that refuses nor of another one, nor of
// the scope of its subject.
func TestRefusalsTakeNothing(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=5", "org:acme/team:small=1"), Bytes: rulesOf(t, "org:acme/team:*=1000", "org:*=1000000")})
	now := time.Now()
	narrow := func(scope subjects.Scope, size int) error {
		p, err := l.Admit(now, "org:acme", size)
		if err == nil {
			err = p.Narrow(now, scope)
		}
		p.Release()
		return err
	}
	if passed, _ := tally(10, func() error { return narrow("org:acme/team:small", 10) }); passed != 1 {
		t.Fatalf("%d of a team that may have 1", passed)
	}
	if passed, _ := tally(10, func() error { return narrow("org:acme/team:other", 10) }); passed != 4 {
		t.Errorf("%d of another team, whose org has 4 left", passed)
	}
	if err := l.Take(now, []byte("org:acme/team:third"), 1<<20); err == nil {
		t.Fatal("the org has nothing left")
	}
	now = now.Add(time.Second)
	if err := l.Take(now, []byte("org:acme/team:third"), 10); err != nil {
		t.Errorf("the bytes of a refused request count: %v", err)
	}
}

// Absurd limits and debts do no harm.
func TestExtremes(t *testing.T) {
	for _, wrong := range []string{"org:a=9223372036854775807", "org:a=1125899906842625"} {
		if _, err := ParseRule(wrong, number); err == nil {
			t.Error(wrong)
		}
	}
	l := New(Config{Bytes: rulesOf(t, "org:a=1", "org:b=1125899906842624")})
	now := time.Now()
	if err := l.Take(now, []byte("org:a"), 10<<40); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, l.Take(now, []byte("org:a"), 1), longestWait)
	if err := l.Take(now, []byte("org:b"), 1); err != nil {
		t.Error(err)
	}
}

func TestInFlight(t *testing.T) {
	l := New(Config{InFlight: rulesOf(t, "org:acme=3", "org:acme/team:eng=1")})
	now := time.Now()
	admit := func(scope, narrow subjects.Scope) (*Pass, error) {
		p, err := l.Admit(now, scope, 1)
		if err == nil {
			err = p.Narrow(now, narrow)
		}
		return p, err
	}
	first, err := admit("org:acme", "org:acme/team:eng")
	if err != nil {
		t.Fatal(err)
	}
	second, err := admit("org:acme", "org:acme/team:eng/service:api")
	mustRefuse(t, err, time.Second, "org:acme/team:eng has 1 requests under way", "limits.in_flight")
	second.Release()
	second.Release() // twice
	third, err := admit("org:acme", "org:acme/team:ops")
	if err != nil {
		t.Fatal(err)
	}
	fourth, err := admit("org:acme", "org:acme")
	if err != nil {
		t.Fatal(err)
	}
	_, err = admit("org:acme/team:ops", "org:acme/team:ops")
	mustRefuse(t, err, time.Second, "org:acme has 3 requests")
	first.Release()
	if again, err := admit("org:acme/team:eng", "org:acme/team:eng"); err != nil {
		t.Error(err)
	} else {
		again.Release()
	}
	// A request that is answered at once is never under way.
	if err := l.Take(now, []byte("org:acme"), 1); err != nil {
		t.Error(err)
	}
	third.Release()
	fourth.Release()
	for scope, m := range l.meters {
		if m.inFlight != 0 {
			t.Errorf("%s still has %d under way", scope, m.inFlight)
		}
	}
}

// Each item of a batch is a request of its scope, and the batch is under way once.
func TestItems(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:acme=50", "org:acme/team:*=20"), InFlight: rulesOf(t, "org:acme=1", "org:acme/team:*=1")})
	now := time.Now()
	p, err := l.Admit(now, "org:acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	for team, want := range map[subjects.Scope]int{"org:acme/team:a": 20, "org:acme/team:b": 20} {
		if passed, _ := tally(30, func() error { return p.Item(now, team) }); passed != want {
			t.Errorf("%d items of %s passed, want %d", passed, team, want)
		}
	}
	if passed, _ := tally(30, func() error { return p.Item(now, "org:acme") }); passed != 10 {
		t.Errorf("%d items of org:acme passed, which has 10 of 50 left", passed)
	}
	if _, err := l.Admit(now.Add(time.Minute), "org:acme", 1); err == nil {
		t.Error("a second request is under way")
	}
	p.Release()
	if _, err := l.Admit(now.Add(time.Minute), "org:acme", 1); err != nil {
		t.Error(err)
	}
}

func TestNoLimits(t *testing.T) {
	l := New(Config{})
	if l != nil {
		t.Fatal("limits without a rule")
	}
	p, err := l.Admit(time.Now(), "org:acme", 1)
	if err != nil || p.Narrow(time.Now(), "org:acme/team:x") != nil || p.Item(time.Now(), "org:acme/team:x") != nil || l.Take(time.Now(), []byte("org:acme"), 1) != nil {
		t.Error("refused without a limit")
	}
	p.Answered(1)
	p.Release()
}

// Scopes that are idle are forgotten, so that the memory of a Limits is bounded.
func TestIdleScopesAreForgotten(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=10"), InFlight: rulesOf(t, "org:*=5")})
	now := time.Now()
	under, err := l.Admit(now, "org:busy", 1)
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxMeters - 1 {
		if err := l.Take(now, fmt.Appendf(nil, "org:a%d", n), 1); err != nil {
			t.Fatal(err)
		}
	}
	mustRefuse(t, l.Take(now, []byte("org:one-more"), 1), time.Second, "too many scopes")
	if err := l.Take(now.Add(2*time.Second), []byte("org:one-more"), 1); err != nil || len(l.meters) != 2 {
		t.Errorf("%d scopes are known: %v", len(l.meters), err)
	}
	under.Release()
}

func TestConcurrentUse(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=1000"), InFlight: rulesOf(t, "org:*=8"), Bytes: rulesOf(t, "org:*=100000")})
	var users sync.WaitGroup
	for n := range 8 {
		users.Go(func() {
			scope := subjects.Scope(fmt.Sprintf("org:a%d", n%2))
			for range 1000 {
				if p, err := l.Admit(time.Now(), scope, 10); err == nil {
					_ = p.Narrow(time.Now(), scope+"/team:x")
					_ = p.Item(time.Now(), scope+"/team:y")
					p.Answered(10)
					p.Release()
				}
				_ = l.Take(time.Now(), []byte(scope), 10)
			}
		})
	}
	users.Wait()
	for scope, m := range l.meters {
		if m.inFlight != 0 {
			t.Errorf("%s still has %d under way", scope, m.inFlight)
		}
	}
}

// A hit takes no memory for its limits.
func TestTakeAllocatesNothing(t *testing.T) {
	l := New(Config{Requests: rulesOf(t, "org:*=1000000000"), Bytes: rulesOf(t, "org:acme/team:*=1000000000000")})
	scope, now := []byte("org:acme/team:eng/service:api"), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.Take(now, scope, 300); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for name, l := range map[string]*Limits{
		"none": nil,
		"org":  New(Config{Requests: rulesOf(b, "org:*=1000000000")}),
		"team": New(Config{Requests: rulesOf(b, "org:*=1000000000", "org:acme/team:*=1000000000"), Bytes: rulesOf(b, "org:*=1000000000000")}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			scope, now := []byte("org:acme/team:eng/service:api"), time.Now()
			for b.Loop() {
				if err := l.Take(now, scope, 300); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
