package testbed

import "time"

// hung is how many times its limit a run may take: a loaded machine never makes that much
// difference, but an unbounded wait does.
const hung = 10

// Prompt runs f, which must end within limit on an otherwise idle machine. It tries up to
// five times, and logs the shortest time. Tests of other packages delay every run, so the test
// fails only if f seems to wait without that limit.
func Prompt(t interface {
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}, limit time.Duration, f func(),
) {
	const runs = 5
	least := time.Duration(1<<63 - 1)
	for n := 0; n < runs && least > limit; n++ {
		begun := time.Now()
		f()
		least = min(least, time.Since(begun))
	}
	t.Logf("it took %v, the limit is %v", least.Round(time.Millisecond), limit)
	if least > hung*limit {
		t.Fatalf("it took %v, the limit is %v", least, limit)
	}
}
