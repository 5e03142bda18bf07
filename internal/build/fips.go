package build

import "crypto/fips140"

// FIPS says whether this process is in FIPS 140-3 mode: off, on, or only, which refuses all that
// is not approved. GODEBUG=fips140 sets it.
func FIPS() string {
	switch {
	case fips140.Enforced():
		return "only"
	case fips140.Enabled():
		return "on"
	}
	return "off"
}
