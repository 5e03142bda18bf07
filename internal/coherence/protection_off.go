//go:build !simulation

package coherence

func off(Protection) bool { return false }

// LeftOut reports whether a protection is left out: never, but in the simulation.
func LeftOut(Protection) bool { return false }

func atRecheck() {}
