package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCommandBeside(t *testing.T) {
	for path, want := range map[string]string{
		"/usr/local/bin/worker":                      "credbus",
		"/home/ada/go/bin/worker":                    "credbus",
		"/tmp/go-build1234/b001/exe/worker":          "go run ./cmd/credbus",
		"/home/ada/.cache/go-build/ab/abcd-d/worker": "go run ./cmd/credbus",
		"/tmp/go-build1234/b001/credbus.test":        "credbus",
	} {
		if got := commandBeside(path, "credbus"); got != want {
			t.Errorf("beside %s: %q, want %q", path, got, want)
		}
	}
}

func TestSetUp(t *testing.T) {
	for args, want := range map[string]string{
		"":                "Usage:",
		"--version":       "prog (devel)\n",
		"lsit":            `there is no command "lsit", did you mean list?`,
		"xyz":             `there is no command "xyz"`,
		"group":           "prog group is no command by itself: choose add or show",
		"group shw":       `prog group has no command "shw", did you mean show?`,
		"completion bsh":  `prog completion has no command "bsh", did you mean bash, fish or zsh?`,
		"help":            "Usage:",
		"help list":       "lists",
		"help lsit":       `there is no command "lsit", did you mean list?`,
		"help group shw":  `prog group has no command "shw", did you mean show?`,
		"help group show": "shows",
	} {
		run := func(*cobra.Command, []string) {}
		root := &cobra.Command{Use: "prog", SilenceErrors: true, SilenceUsage: true}
		group := &cobra.Command{Use: "group"}
		group.AddCommand(&cobra.Command{Use: "add", Run: run}, &cobra.Command{Use: "show", Short: "shows", Run: run})
		root.AddCommand(group, &cobra.Command{Use: "list", Short: "lists", Run: run})
		SetUp(root)
		if root.Version == "" {
			t.Error("no version")
		}
		root.Version = "(devel)" // the same for every build of the test
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(strings.Fields(args))
		if err := root.Execute(); err != nil {
			out.WriteString(err.Error())
		}
		if got := out.String(); !strings.Contains(got, want) || strings.HasPrefix(want, "prog") && got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
