package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFootprint runs each measurement once, with little load. Sizes stay far below
// the limits then: the test shows that the measuring works. Resident sizes come from
// /proc, which only Linux has.
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
