package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected reports")

// The recordings are of go test for stores that pass, fail, do not build, end early or
// have no tests, and for no stores at all.
func TestReport(t *testing.T) {
	for name, want := range map[string]bool{"passes": true, "fails": false, "none": false} {
		t.Run(name, func(t *testing.T) {
			events, err := os.Open(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			defer events.Close()
			var got bytes.Buffer
			ok, err := report(events, &got)
			if err != nil || ok != want {
				t.Errorf("report = %t, %v; want %t", ok, err, want)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || got.String() != string(want) {
				t.Errorf("report:\n%s\nwant (%v):\n%s", got.String(), err, want)
			}
		})
	}
}

// A recording that is cut off before its last package ended is not a success.
func TestReportCutOff(t *testing.T) {
	recording, err := os.ReadFile("testdata/passes.json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(recording), "\n")
	for n := range lines {
		rest := strings.Join(lines[n:], "")
		if !strings.Contains(rest, `"Package":`) || !strings.Contains(strings.Join(lines[:n], ""), `"Action":"start"`) {
			continue
		}
		var got bytes.Buffer
		ok, err := report(strings.NewReader(strings.Join(lines[:n], "")), &got)
		// No event announces the next package: there, only the exit status of
		// go test shows that something is missing.
		ended := strings.Count(strings.Join(lines[:n], ""), `"Action":"start"`) == strings.Count(got.String(), "ok  \t")+strings.Count(got.String(), "?   \t")
		if err != nil || ok && !ended {
			t.Errorf("cut off after %d lines: %t, %v\n%s", n, ok, err, got.String())
		}
	}
}

// The status of go test counts, whatever its events say.
func TestStatus(t *testing.T) {
	script := func(status string) *exec.Cmd {
		return exec.Command("sh", "-c", "cat testdata/passes.json; exit "+status)
	}
	if ok, err := run(script("0")); !ok || err != nil {
		t.Errorf("status 0: %t, %v", ok, err)
	}
	if ok, err := run(script("1")); ok || err == nil {
		t.Errorf("status 1: %t, %v", ok, err)
	}
}
