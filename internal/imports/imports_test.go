// Package imports tests which packages import which.
package imports

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floor is a group of packages that do not import each other.
type floor struct {
	name     string
	packages []string // each with the packages below it in the tree
	why      string
}

// floors are the packages of credbus, the highest first. A package imports only from floors
// below its own, and the packages above it in the tree. The picture in README.md shows this
// table.
var floors = []floor{
	{"programs", []string{"cmd/worker", "cmd/credbus", "internal/bench", "internal/footprint", "internal/simulation"},
		"wiring only: the packages below do the work"},
	{"worker", []string{"internal/worker"},
		"the one place that knows all parts"},
	{"NATS", []string{"internal/handler", "internal/jobs"},
		"requests and jobs in, replies out: they know no store"},
	{"commands", []string{"internal/manager"},
		"what a command means: it knows neither NATS nor a driver"},
	{"parts", []string{"client", "internal/audit", "internal/config", "internal/coherence", "internal/deployment", "internal/expiry", "internal/natsd", "internal/once", "internal/sealkeys", "internal/store"},
		"each can be read alone; a driver knows the contract of stores and its SDK"},
	{"tools", []string{"internal/build", "internal/cache", "internal/cli", "internal/clock", "internal/contract", "internal/dumps", "internal/filelock", "internal/health", "internal/heap", "internal/history", "internal/hybrid", "internal/imports", "internal/jsapi", "internal/limits", "internal/natsconn", "internal/repeat", "internal/seal", "internal/storereport", "internal/tenancy", "internal/testbed", "internal/wireseal"},
		"they know nothing of credentials"},
	{"base", []string{"subjects", "internal/lifecycle"},
		"all import it: its imports become imports of all"},
}

// sideways lists further imports that are allowed, from the same floor or tree.
var sideways = map[string][]string{
	"subjects":                  {"subjects/internal/wire"},
	"internal/cli":              {"internal/build"},
	"internal/deployment":       {"internal/store"},
	"internal/expiry":           {"internal/store"},
	"internal/tenancy/users":    {"internal/filelock"},
	"internal/store/file":       {"internal/store/record"},
	"internal/store/jetstream":  {"internal/store/record"},
	"internal/store/vault":      {"internal/store/record"},
	"internal/store/aws":        {"internal/store/record"},
	"internal/store/kubernetes": {"internal/store/record"},
	"internal/wireseal":         {"internal/hybrid"},
}

// modules may be imported only by these packages, and those below them in the tree.
// Any package may import other modules.
var modules = []struct {
	module   string
	packages []string
	why      string
}{
	{"github.com/nats-io/nats-server", []string{"internal/natsd", "internal/testbed"},
		"one package of the worker links the server"},
	{"github.com/nats-io/nats.go", []string{"client", "cmd/credbus", "internal/audit/stream", "internal/bench", "internal/coherence", "internal/deployment", "internal/expiry", "internal/footprint", "internal/handler", "internal/jobs", "internal/jsapi", "internal/limits", "internal/natsconn", "internal/once", "internal/sealkeys", "internal/store/jetstream", "internal/testbed", "internal/worker"},
		"commands, stores, cache and seal work without NATS"},
	{"github.com/aws", []string{"internal/store/aws", "internal/seal/kms"}, "only its driver uses a provider's SDK"},
	{"github.com/hashicorp/vault", []string{"internal/store/vault", "internal/seal/kms"}, "only its driver uses a provider's SDK"},
	{"k8s.io", []string{"internal/store/kubernetes"}, "only its driver uses a provider's SDK"},
	{"github.com/tink-crypto", []string{"internal/seal"}, "crypto stands alone, so that it can be read alone"},
	{"github.com/allegro/bigcache", []string{"internal/cache"}, "only the cache knows how it holds entries"},
	{"github.com/vmihailenco/msgpack", []string{"subjects", "internal/store/record"}, "each format from outside has one decoder"},
	{"github.com/spf13/cobra", []string{"cmd", "internal/cli"}, "a library does not know that a command line runs it"},
}

// ofClient is all that package client may import: users build it into their programs.
var ofClient = []string{"subjects", "internal/hybrid", "internal/wireseal", "github.com/nats-io/nats.go", "github.com/synadia-io/orbit.go/natscontext", "golang.org/x/sync"}

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
			t.Errorf("%s is on no floor: add it to the table floors", name)
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

// TestPicture compares the picture in README.md with the floors.
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

// mayImport allows imports from a lower floor, from above in the tree, and sideways.
func mayImport(name, other string) bool {
	return floorOf(other) > floorOf(name) || among(name, []string{other}) || slices.Contains(sideways[name], other)
}

// rootOf is the package of the table that name is, or lies below.
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

// isStandard: paths of the standard library have no dot in their first part; ours have none, too.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first+"/" != module
}
