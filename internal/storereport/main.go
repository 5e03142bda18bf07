// Command storereport runs the tests of stores and reports for each store how many
// cases passed, which were skipped and why, and where the store declares to differ.
//
//	storereport arguments ─► go test -json arguments ─► events ─┬─ what failed, as go test shows it
//	                                                            ├─ cases of each store, reasons of skips
//	                                                            ├─ differences that storetest.Run logged
//	                                                            └─ go test's last lines, and the sums
//
// It runs go test itself, so that no pipe of a shell can lose its exit status.
// The status is 1 when a test or a build failed, and when no test ran.
package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	ok, err := run(cmd)
	if err != nil {
		fmt.Fprintln(os.Stderr, "storereport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reports whether tests ran and all of them passed.
func run(cmd *exec.Cmd) (ok bool, err error) {
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ok, err = report(events, os.Stdout)
	_, _ = io.Copy(io.Discard, events) // or go test would wait for a reader
	if failed := cmd.Wait(); err == nil && ok && failed != nil {
		return false, failed // for a reason that no event gave
	}
	return ok, err
}
