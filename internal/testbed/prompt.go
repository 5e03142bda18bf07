package testbed

import "time"

// hung is how many times what is promised a run may take: no load of a machine makes
// that difference, but a wait that nothing bounds does.
const hung = 10

// Prompt runs f, which promises to end within limit on a machine that does nothing else. It
// tries five times at most, and logs the least time. Since tests of other packages delay
// every run, the test fails only if f seems to wait for something else than its limit.
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
	t.Logf("it took %v, of %v that are promised", least.Round(time.Millisecond), limit)
	if least > hung*limit {
		t.Fatalf("it took %v, where %v are promised", least, limit)
	}
}
