package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFootprint runs everything once, with little of each: what it measures then
// is far from any limit, so it shows that the measuring works. Resident sizes are read
// from /proc, which Linux alone has.
func TestFootprint(t *testing.T) {
	worker := filepath.Join(t.TempDir(), "worker")
	// With -race, as most tests are built, so that nothing is compiled twice.
	if out, err := exec.Command("go", "build", "-race", "-o", worker, "credbus/cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := measure(t.Context(), options{worker: worker, entries: 20, rounds: 1, requests: 4, settle: 1}); err != nil {
		t.Error(err)
	}
}
