// Package bubble runs tests in synthetic time.
package bubble

import (
	"crypto/fips140"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

// Test is synctest.Test, which works in FIPS 140-3 mode as well. There, the cryptographic module
// takes entropy from the jitter of the clock, which stands still in a bubble, so that it panics:
// the test gets randomness of another source.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if fips140.Enabled() {
		cryptotest.SetGlobalRandom(t, rand.Uint64())
	}
	synctest.Test(t, f)
}
