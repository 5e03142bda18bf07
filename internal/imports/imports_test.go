// Package imports holds the rule of who may import whom, as a test.
package imports

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for each package, what it may import beside the standard
// library: packages of credbus by their path within it, other modules by their
// path. A package that is not listed here has no business to exist.
var allowed = map[string]struct {
	credbus []string
	others  []string
	why     string
}{
	"subjects": {nil, []string{msgpack},
		"both ends and every driver import the contract: what it imports, all have"},
	"client": {[]string{"subjects"}, []string{nats, natscontext, "golang.org/x/sync"},
		"users build it into their programs: no server code, few modules"},

	"internal/store":                   {[]string{"subjects"}, nil, "the contract of drivers knows names, not how they travel"},
	"internal/store/memory":            {[]string{"subjects", "internal/store"}, nil, "a driver knows the contract and its SDK"},
	"internal/store/record":            {[]string{"subjects", "internal/store"}, []string{msgpack}, "drivers share an encoding, and nothing else"},
	"internal/store/file":              {[]string{"subjects", "internal/store", "internal/store/record"}, []string{"github.com/fsnotify/fsnotify", "github.com/gofrs/flock", "golang.org/x/sys"}, "a driver knows the contract and its SDK"},
	"internal/store/jetstream":         {[]string{"subjects", "internal/store", "internal/store/record"}, []string{nats}, "a driver knows the contract and its SDK"},
	"internal/store/policy":            {[]string{"subjects", "internal/store"}, []string{"github.com/failsafe-go/failsafe-go"}, "a policy is in front of any driver"},
	"internal/store/storetest":         {[]string{"subjects", "internal/store"}, nil, "the suite asks the contract, not a driver"},
	"internal/seal":                    {nil, []string{"github.com/tink-crypto/tink-go", "google.golang.org/protobuf"}, "crypto stands alone, to be read alone"},
	"internal/cache":                   {nil, []string{"github.com/allegro/bigcache", "golang.org/x/crypto"}, "the cache does no I/O and knows no meaning"},
	"internal/coherence":               {[]string{"subjects"}, []string{nats}, "the protocol sees a cache and a log as interfaces; only its stream knows JetStream"},
	"internal/coherence/coherencetest": {[]string{"subjects", "internal/coherence"}, nil, "a log in memory needs no server"},
	"internal/manager": {[]string{"subjects", "internal/store", "internal/cache", "internal/seal", "internal/coherence"}, []string{"golang.org/x/sync"},
		"commands know neither NATS nor a driver"},
	"internal/handler": {[]string{"subjects", "internal/manager", "internal/coherence"}, []string{nats},
		"NATS in and out: no store"},
	"internal/natsd":    {[]string{"subjects"}, []string{"github.com/nats-io/nats-server", "github.com/gofrs/flock", "golang.org/x/crypto", "golang.org/x/sys"}, "only one package links the server"},
	"internal/natsconn": {nil, []string{nats, natscontext}, "worker and command line connect alike"},
	"internal/config":   {[]string{"subjects", "internal/natsconn"}, []string{"github.com/knadh/koanf", "github.com/spf13/pflag", "go.yaml.in/yaml"}, "settings are values: nothing is opened to read them"},
	"internal/worker": {[]string{"subjects", "internal/cache", "internal/coherence", "internal/config", "internal/handler", "internal/manager",
		"internal/natsconn", "internal/natsd", "internal/seal", "internal/store", "internal/store/file", "internal/store/jetstream", "internal/store/memory", "internal/store/policy"}, []string{nats},
		"the one place that knows all parts"},
	"internal/simulation": {nil, nil, "it is tests, which may see all that they simulate"},
	"internal/bench":      {[]string{"subjects"}, []string{nats}, "it measures from outside"},
	"internal/history":    {nil, []string{"github.com/anishathalye/porcupine"}, "a judge that knew the accused could not be trusted"},
	"internal/imports":    {nil, nil, "a test"},
	"cmd/worker":          {[]string{"internal/config", "internal/worker"}, []string{cobra}, "configuration and wiring only"},
	"cmd/credbus": {[]string{"subjects", "client", "internal/config", "internal/natsconn"}, []string{cobra, nats, natscontext, "github.com/schollz/progressbar", "github.com/spf13/pflag", "golang.org/x/term"},
		"the command line does what any client may"},
}

const (
	msgpack     = "github.com/vmihailenco/msgpack"
	nats        = "github.com/nats-io/nats.go"
	natscontext = "github.com/synadia-io/orbit.go/natscontext"
	cobra       = "github.com/spf13/cobra"
	module      = "credbus/"
)

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		rule, ok := allowed[name]
		if !ok {
			t.Errorf("%s has no rule: say here what it may import, and why", name)
			continue
		}
		seen++
		for _, path := range fields[1:] {
			if own, ok := strings.CutPrefix(path, module); ok {
				if !slices.Contains(rule.credbus, own) {
					t.Errorf("%s imports %s: %s", name, own, rule.why)
				}
				continue
			}
			if !isStandard(path) && !slices.ContainsFunc(rule.others, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }) {
				t.Errorf("%s imports %s: %s", name, path, rule.why)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d of %d packages with a rule exist", seen, len(allowed))
	}
}

// isStandard: paths of the standard library have no dot in their first part.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
