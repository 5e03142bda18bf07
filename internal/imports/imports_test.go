// Package imports tests which packages import which.
package imports

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floor is packages that do not import each other.
type floor struct {
	name     string
	packages []string // each with what lies below it in the tree
	why      string
}

// floors are the packages of credbus, the highest first. A package imports only from floors
// below its own, and what it lies below in the tree. The picture in README.md is made of
// this table.
var floors = []floor{
	{"programs", []string{"cmd/worker", "cmd/credbus", "internal/bench", "internal/footprint", "internal/simulation"},
		"wiring only: what they do is done below"},
	{"worker", []string{"internal/worker"},
		"the one place that knows all parts"},
	{"NATS", []string{"internal/handler", "internal/jobs"},
		"requests and jobs in, replies out: they know no store"},
	{"commands", []string{"internal/manager"},
		"what a command means: it knows neither NATS nor a driver"},
	{"parts", []string{"client", "internal/config", "internal/coherence", "internal/deployment", "internal/expiry", "internal/natsd", "internal/store"},
		"each can be read alone; a driver knows the contract of stores and its SDK"},
	{"tools", []string{"internal/build", "internal/cache", "internal/cli", "internal/clock", "internal/contract", "internal/health", "internal/heap", "internal/history", "internal/hybrid", "internal/imports", "internal/jsapi", "internal/natsconn", "internal/repeat", "internal/seal", "internal/storereport", "internal/testbed"},
		"they know nothing of credentials"},
	{"contract", []string{"subjects"},
		"all import it: what it imports, all have"},
}

// sideways is what else a package may import: of its floor, or of its tree.
var sideways = map[string][]string{
	"subjects":                  {"subjects/internal/wire"},
	"internal/cli":              {"internal/build"},
	"internal/deployment":       {"internal/store"},
	"internal/expiry":           {"internal/store"},
	"internal/store/file":       {"internal/store/record"},
	"internal/store/jetstream":  {"internal/store/record"},
	"internal/store/vault":      {"internal/store/record"},
	"internal/store/aws":        {"internal/store/record"},
	"internal/store/kubernetes": {"internal/store/record"},
}

// modules may be imported by some packages only, with what lies below these in the
// tree. Any package may import the others.
var modules = []struct {
	module   string
	packages []string
	why      string
}{
	{"github.com/nats-io/nats-server", []string{"internal/natsd", "internal/testbed"},
		"of what the worker links, one package links the server"},
	{"github.com/nats-io/nats.go", []string{"client", "cmd/credbus", "internal/bench", "internal/coherence", "internal/deployment", "internal/expiry", "internal/footprint", "internal/handler", "internal/jobs", "internal/jsapi", "internal/natsconn", "internal/store/jetstream", "internal/worker"},
		"commands, stores, cache and seal work without NATS"},
	{"github.com/aws", []string{"internal/store/aws", "internal/seal/kms"}, "a provider's SDK is its driver's"},
	{"github.com/hashicorp/vault", []string{"internal/store/vault", "internal/seal/kms"}, "a provider's SDK is its driver's"},
	{"k8s.io", []string{"internal/store/kubernetes"}, "a provider's SDK is its driver's"},
	{"github.com/tink-crypto", []string{"internal/seal"}, "crypto stands alone, to be read alone"},
	{"github.com/allegro/bigcache", []string{"internal/cache"}, "what holds entries is the cache's own business"},
	{"github.com/vmihailenco/msgpack", []string{"subjects", "internal/store/record"}, "one package decodes what comes from outside"},
	{"github.com/spf13/cobra", []string{"cmd", "internal/cli"}, "a library does not know that it is run by a command line"},
}

// ofClient is all that package client may import: users build it into their programs.
var ofClient = []string{"subjects", "internal/hybrid", "github.com/nats-io/nats.go", "github.com/synadia-io/orbit.go/natscontext", "golang.org/x/sync"}

const module = "credbus/"

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		at := floorOf(name)
		if at < 0 {
			t.Errorf("%s is on no floor: say here where it belongs", name)
			continue
		}
		found[rootOf(name)] = true
		for _, path := range fields[1:] {
			own, ours := strings.CutPrefix(path, module)
			switch {
			case ours && !mayImport(name, own):
				t.Errorf("%s (%s) imports %s (%s): %s", name, floors[at].name, own, floors[floorOf(own)].name, floors[at].why)
			case name == "client" && !isStandard(path) && !among(own, ofClient):
				t.Errorf("client imports %s: users build it into their programs", path)
			}
			for _, rule := range modules {
				if among(path, []string{rule.module}) && !among(name, rule.packages) {
					t.Errorf("%s imports %s: %s", name, path, rule.why)
				}
			}
		}
	}
	for _, floor := range floors {
		for _, name := range floor.packages {
			if !found[name] {
				t.Errorf("%s does not exist", name)
			}
		}
	}
}

// TestPicture holds README.md to the floors.
func TestPicture(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var picture strings.Builder
	for _, floor := range floors {
		shown := slices.Clone(floor.packages)
		for i := range shown {
			shown[i] = strings.TrimPrefix(shown[i], "internal/")
		}
		rest := strings.Join(shown, ", ")
		name := floor.name
		for rest != "" {
			const widest = 66
			line := rest
			if len(line) > widest {
				line = line[:strings.LastIndex(line[:widest], " ")]
			}
			rest = strings.TrimPrefix(rest[len(line):], " ")
			picture.WriteString(strings.TrimRight(name+strings.Repeat(" ", 10-len(name))+line, " ") + "\n")
			name = ""
		}
	}
	if !strings.Contains(string(page), "```text\n"+picture.String()+"```\n") {
		t.Errorf("README.md has another picture of the floors than:\n%s", picture.String())
	}
}

// mayImport: from a lower floor, from above in the tree, or sideways.
func mayImport(name, other string) bool {
	return floorOf(other) > floorOf(name) || among(name, []string{other}) || slices.Contains(sideways[name], other)
}

// rootOf is the package of the table that a package is or lies below.
func rootOf(name string) string {
	for _, floor := range floors {
		for _, root := range floor.packages {
			if among(name, []string{root}) {
				return root
			}
		}
	}
	return ""
}

func floorOf(name string) int {
	root := rootOf(name)
	return slices.IndexFunc(floors, func(f floor) bool { return slices.Contains(f.packages, root) })
}

// among reports whether path is one of roots, or lies below one.
func among(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// isStandard: paths of the standard library have no dot in their first part, nor do ours.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first+"/" != module
}
