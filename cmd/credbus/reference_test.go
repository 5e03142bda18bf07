package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

// TestReference compares docs/cli.md with the output of --help.
func TestReference(t *testing.T) {
	root := new(program).command()
	var page strings.Builder
	page.WriteString("# Command line\n\n" +
		"The output of `credbus --help` and `credbus COMMAND --help`. Every command takes the flags of the first section, too.\n" +
		"After a change: `go test ./cmd/credbus -run TestReference -update`.\n")
	writeHelp(t, &page, root)

	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page.String() {
		t.Errorf("%s is not what --help prints: run go test ./cmd/credbus -run TestReference -update", path)
	}
}

// writeHelp writes the help of a command and its subcommands.
func writeHelp(t *testing.T, page *strings.Builder, command *cobra.Command) {
	t.Helper()
	var help bytes.Buffer
	command.SetOut(&help)
	command.InitDefaultHelpFlag()
	if err := command.Help(); err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(help.String(), "\nGlobal Flags:\n")
	fmt.Fprintf(page, "\n## %s\n\n```text\n%s\n```\n", command.CommandPath(), strings.TrimSpace(text))
	for _, below := range command.Commands() {
		if below.IsAvailableCommand() {
			writeHelp(t, page, below)
		}
	}
}

// TestFailuresAreDocumented finds an exit status that the help leaves out.
func TestFailuresAreDocumented(t *testing.T) {
	help := new(program).command().Long
	_, statuses, found := strings.Cut(help, "Exit status:")
	if !found {
		t.Fatal("the help has no list of exit statuses")
	}
	for _, failure := range failures {
		if !strings.Contains(statuses, fmt.Sprintf("\n  %-3d  ", failure.code)) {
			t.Errorf("status %d, of %q, is not in the help", failure.code, failure.err)
		}
	}
}
