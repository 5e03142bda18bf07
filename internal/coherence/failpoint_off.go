//go:build !failpoints

package coherence

// failpoint does nothing in builds without the tag failpoints.
func failpoint(string) {}
