package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"credbus/internal/config"
	"credbus/internal/natsconn"
)

// Each flag and command that an error, a help text or a document names must exist.
func TestAdvice(t *testing.T) {
	own, workers := flagsOf(new(program).command()), pflag.NewFlagSet("worker", pflag.ContinueOnError)
	config.Flags(workers)
	ofWorker := func(name string) bool { return workers.Lookup(name) != nil || name == "help" || name == "version" }
	ofCredbus := func(name string) bool { return own[name] }
	either := func(name string) bool { return ofWorker(name) || ofCredbus(name) }

	named := 0
	check := func(place, text string, known func(string) bool) {
		for _, match := range flagNamed.FindAllStringSubmatch(text, -1) {
			named++
			if !known(match[1]) {
				t.Errorf("%s names the flag --%s, which does not exist: %s", place, match[1], text)
			}
		}
		for _, match := range commandNamed.FindAllStringSubmatch(text, -1) {
			named++
			if name := unknownCommand(match[1]); name != "" {
				t.Errorf("%s names the command credbus %s, which does not exist: %s", place, name, text)
			}
		}
	}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		place, _ := filepath.Rel(root, path)
		place = filepath.ToSlash(place)
		switch {
		case entry.IsDir() && (slices.Contains(otherPrograms, place) || strings.HasPrefix(place, ".") && place != "."):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
		case place == "internal/natsconn/config.go": // it spells flags: see below
		case place == "internal/tenancy/print.go": // it spells commands of nsc
		case strings.HasSuffix(path, ".go"):
			known := either
			if strings.HasPrefix(place, "cmd/credbus/") || strings.HasPrefix(place, "client/") {
				known = func(name string) bool { return ofCredbus(name) || strings.Contains(name, ".") && ofWorker(name) }
			}
			for _, text := range stringsOf(t, path) {
				check(place, text, known)
			}
		case strings.HasSuffix(path, ".md") && !strings.HasPrefix(place, "docs/adr/"):
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(content)) {
				if ofOthers.MatchString(line) {
					continue
				}
				check(place, line, either)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < 300 {
		t.Errorf("only %d flags and commands are found: this test shows nothing", named)
	}

	// Errors about a connection spell a setting as a flag of the program.
	settings := 0
	for _, path := range []string{"config.go", "explain.go", "connect.go"} {
		for _, name := range settingsNamed(t, filepath.Join(root, "internal", "natsconn", path)) {
			settings++
			if flag := natsconn.CommandLine.Spell(name); !ofCredbus(strings.TrimPrefix(flag, "--")) {
				t.Errorf("errors of credbus name the flag %s, which does not exist", flag)
			}
			if flag := natsconn.Flags(0).Spell(name); !ofWorker(strings.TrimPrefix(flag, "--")) {
				t.Errorf("errors of the worker name the flag %s, which does not exist", flag)
			}
		}
	}
	if settings < 10 {
		t.Errorf("only %d settings are found in natsconn", settings)
	}
}

var (
	flagNamed    = regexp.MustCompile(`(?:^|[\s("'` + "`" + `=|[])--([a-z][a-z0-9._-]*[a-z0-9])`)
	commandNamed = regexp.MustCompile(`(?m)(?:^|[^.\w/-])credbus ((?:[a-z]+[ ,]?)+)`)
	// ofOthers are lines of documents about other programs.
	ofOthers = regexp.MustCompile(`\b(nats|vault|bao|kubectl|aws|age|go test|docker|nsc|make|curl|git|helm|systemctl) |--move-to-version-id`)
)

// flagsOf are the names of the flags of a command and its subcommands.
func flagsOf(cmd *cobra.Command) map[string]bool {
	known := map[string]bool{"help": true, "version": true}
	add := func(f *pflag.Flag) { known[f.Name] = true }
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, below := range cmd.Commands() {
		for name := range flagsOf(below) {
			known[name] = true
		}
	}
	return known
}

// unknownCommand is the command that a text begins with, "" if it exists.
func unknownCommand(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 || slices.Contains(notCommands, words[0]) {
		return ""
	}
	cmd := new(program).command()
	for i, word := range words {
		if !cmd.HasSubCommands() {
			return ""
		}
		at := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == strings.TrimSuffix(word, ",") })
		if at < 0 && i > 0 && cmd.Runnable() { // an argument
			return ""
		}
		if at < 0 {
			if i == 0 {
				return strings.Join(words[:1], " ")
			}
			return strings.Join(words[:i+1], " ")
		}
		cmd = cmd.Commands()[at]
	}
	return ""
}

// notCommands are words that follow "credbus" in plain sentences.
var notCommands = strings.Fields("is worker client command for stay hold may record header made keyring")

// otherPrograms are directories of code that runs other programs.
var otherPrograms = []string{"integration", "internal/bench", "internal/testbed"}

// stringsOf are the string literals of a file.
func stringsOf(t *testing.T, path string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		return true
	})
	return texts
}

// settingsNamed are the first arguments of the calls that spell a flag in a file of natsconn.
func settingsNamed(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "setting" && f.Sel.Name != "named" {
			return true
		}
		if literal, ok := call.Args[0].(*ast.BasicLit); ok {
			name, _ := strconv.Unquote(literal.Value)
			names = append(names, name)
		}
		return true
	})
	return names
}
