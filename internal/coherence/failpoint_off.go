//go:build !failpoints

package coherence

// failpoint does nothing: the program was not built to be made to fail.
func failpoint(string) {}
