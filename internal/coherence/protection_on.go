//go:build mutants

package coherence

// Without is the protection that is left out, "" for none.
var Without Protection

func off(p Protection) bool { return p == Without }

// LeftOut reports whether a protection is left out.
func LeftOut(p Protection) bool { return off(p) }
