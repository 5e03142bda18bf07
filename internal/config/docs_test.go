package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const docs = "../../docs"

// TestDocumentedSettings loads the settings in the pages about stores: each YAML
// file, and the flags of each worker.
func TestDocumentedSettings(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(docs, "stores", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	loaded := 0
	for _, page := range append(pages, filepath.Join(docs, "stores.md"), filepath.Join(docs, "limits.md")) {
		for _, file := range documented(t, page) {
			loaded++
			if _, err := load(t, []string{"--config", writeYAML(t, file)}); err != nil {
				t.Errorf("%s: %v\n%s", page, err, file)
			}
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
			command := strings.TrimPrefix(strings.TrimSpace(line), "$ ")
			if args, found := strings.CutPrefix(command, "worker"); found && (args == "" || strings.HasPrefix(args, " --")) {
				loaded++
				if _, err := load(t, strings.Fields(args)); err != nil {
					t.Errorf("%s: %v\n%s", page, err, line)
				}
			}
		}
	}
	if loaded < 10 {
		t.Errorf("%d examples were found", loaded)
	}
}

// documented are the configuration files that a page shows, without its other
// YAML.
func documented(t *testing.T, page string) (files []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, rest := range strings.Split(string(text), "```yaml\n")[1:] {
		file, _, _ := strings.Cut(rest, "\n```")
		switch first, _, _ := strings.Cut(file, "\n"); first {
		case "# worker.yaml", "store:", "stores:":
			files = append(files, file)
		}
	}
	return files
}

// TestDocumentedRoutes checks that the worked example has the routes that its page describes.
func TestDocumentedRoutes(t *testing.T) {
	files := documented(t, filepath.Join(docs, "stores.md"))
	if len(files) != 1 {
		t.Fatalf("%d examples", len(files))
	}
	c := mustLoad(t, []string{"--config", writeYAML(t, files[0])})
	want := []Route{{"org:acme", "vault-eu"}, {"org:acme/team:lab", "lab"}, {"org:acme/team:web/env:public", DefaultStore}}
	if !reflect.DeepEqual(c.Store.Routes, want) {
		t.Errorf("routes are %v", c.Store.Routes)
	}
	eu, lab := c.Stores["vault-eu"], c.Stores["lab"]
	if c.Store.Type != "jetstream" || !eu.Native() || eu.Vault.RoleID != "credbus" || lab.Type != "file" || lab.Dir != mustAbs(t, "/var/lib/credbus-lab") ||
		eu.ReadTimeout != c.Store.ReadTimeout || eu.WriteTimeout == c.Store.WriteTimeout {
		t.Errorf("stores are %+v", c.AllStores())
	}
}
