//go:build simulation

package coherence

// Without is the protection that is left out, "" for none.
var Without Protection

func off(p Protection) bool { return p == Without }

// LeftOut reports whether a protection is left out.
func LeftOut(p Protection) bool { return off(p) }

// AtRecheck is called between the opening of an entry and the second look at
// the lease.
var AtRecheck = func() {}

func atRecheck() { AtRecheck() }
