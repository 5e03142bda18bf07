package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameTests: a test that a document names as evidence exists.
func TestDocumentsNameTests(t *testing.T) {
	const root = "../.."
	out, err := exec.Command("git", "-C", root, "grep", "-hoE", `^func (Test|Fuzz|Benchmark)[A-Za-z0-9_]+`, "--", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		tests[strings.TrimSpace(strings.TrimPrefix(line, "func "))] = true
	}
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(documents, root+"/README.md", root+"/SECURITY.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]+\b`).FindAllString(string(text), -1) {
			if found++; !tests[name] {
				t.Errorf("%s names %s, which does not exist", filepath.Base(path), name)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d names of tests were found", found)
	}
}
