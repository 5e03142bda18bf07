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
	"subjects/internal/wire": {nil, []string{msgpack}, "it reads and writes msgpack, and knows no message"},
	"subjects": {[]string{"subjects/internal/wire"}, []string{msgpack},
		"both ends and every driver import the contract: what it imports, all have"},
	"client": {[]string{"subjects", "internal/hybrid"}, []string{nats, natscontext, "golang.org/x/sync"},
		"users build it into their programs: no server code, few modules"},

	"internal/store":                   {[]string{"subjects"}, []string{"golang.org/x/sync"}, "the contract of drivers knows names, not how they travel"},
	"internal/store/memory":            {[]string{"subjects", "internal/store"}, nil, "a driver knows the contract and its SDK"},
	"internal/store/record":            {[]string{"subjects", "internal/store"}, []string{msgpack}, "drivers share an encoding, and nothing else"},
	"internal/store/file":              {[]string{"subjects", "internal/store", "internal/store/record"}, []string{"github.com/fsnotify/fsnotify", "github.com/gofrs/flock", "golang.org/x/sys"}, "a driver knows the contract and its SDK"},
	"internal/store/jetstream":         {[]string{"subjects", "internal/jsapi", "internal/store", "internal/store/record"}, []string{nats}, "a driver knows the contract and its SDK"},
	"internal/store/aws":               {[]string{"subjects", "internal/store", "internal/store/record"}, []string{"github.com/aws"}, "a driver knows the contract and its SDK"},
	"internal/store/aws/awstest":       {nil, nil, "a fake that shared code with the driver would share its mistakes"},
	"internal/store/vault":             {[]string{"subjects", "internal/store", "internal/store/record"}, []string{"github.com/hashicorp/vault/api"}, "a driver knows the contract and its SDK"},
	"internal/store/kubernetes":        {[]string{"subjects", "internal/store", "internal/store/record"}, []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go", "golang.org/x/sync"}, "a driver knows the contract and its SDK"},
	"internal/store/policy":            {[]string{"subjects", "internal/store"}, []string{"github.com/failsafe-go/failsafe-go"}, "a policy is in front of any driver"},
	"internal/store/router":            {[]string{"subjects", "internal/store"}, nil, "it sends to any store"},
	"internal/store/storetest":         {[]string{"subjects", "internal/store"}, nil, "the suite asks the contract, not a driver"},
	"internal/seal":                    {nil, []string{"github.com/tink-crypto/tink-go", "google.golang.org/protobuf"}, "crypto stands alone, to be read alone"},
	"internal/seal/kms":                {nil, []string{"github.com/tink-crypto", "github.com/hashicorp/vault/api", "github.com/aws/smithy-go"}, "key services are many modules, which sealing itself does not need"},
	"internal/hybrid":                  {nil, nil, "both ends seal and open with it: the standard library does"},
	"internal/cache":                   {nil, []string{"github.com/allegro/bigcache", "golang.org/x/crypto"}, "the cache does no I/O and knows no meaning"},
	"internal/clock":                   {nil, nil, "it compares times, whoever tells them"},
	"internal/jsapi":                   {nil, []string{"github.com/failsafe-go/failsafe-go", nats}, "how to ask, not what for"},
	"internal/coherence":               {[]string{"subjects", "internal/jsapi"}, []string{nats}, "the protocol sees a cache and a log as interfaces; only its stream knows JetStream"},
	"internal/deployment":              {[]string{"subjects", "internal/jsapi", "internal/store"}, []string{nats}, "it compares what it is told of stores and keys, and opens none"},
	"internal/coherence/coherencetest": {[]string{"subjects", "internal/coherence"}, nil, "a log in memory needs no server"},
	"internal/expiry":                  {[]string{"subjects", "internal/jsapi", "internal/store"}, []string{nats}, "it lists stores and sees the events as an interface: no keyring, so no value"},
	"internal/manager": {[]string{"subjects", "internal/store", "internal/cache", "internal/seal", "internal/coherence"}, []string{"golang.org/x/sync"},
		"commands know neither NATS nor a driver"},
	"internal/jobs": {[]string{"subjects", "internal/hybrid", "internal/jsapi", "internal/manager", "internal/seal"}, []string{nats, jetstreamext, "golang.org/x/sync"},
		"it takes jobs off a queue as the handler takes requests: no store"},
	"internal/handler": {[]string{"subjects", "internal/manager", "internal/coherence", "internal/natsconn"}, []string{nats, "golang.org/x/sync", "golang.org/x/time"},
		"NATS in and out: no store"},
	"internal/footprint": {[]string{"subjects"}, []string{nats, natscontext, "golang.org/x/sync"}, "it measures the worker from outside, as clients see it"},
	"internal/heap":      {nil, nil, "it knows the collector, and not what fills the heap"},
	"internal/health":    {nil, nil, "what it answers with is told to it"},
	"internal/natsd":     {[]string{"subjects"}, []string{"github.com/nats-io/nats-server", "github.com/gofrs/flock", "golang.org/x/crypto", "golang.org/x/sys"}, "of what the worker links, only one package links the server"},
	"internal/natsconn":  {nil, []string{nats, natscontext}, "worker and command line connect alike"},
	"internal/build":     {nil, nil, "it knows the version, and not of what"},
	"internal/cli":       {[]string{"internal/build"}, []string{cobra}, "it knows commands, and not what they do"},
	"internal/config":    {[]string{"subjects", "internal/natsconn"}, []string{"github.com/knadh/koanf", "github.com/spf13/pflag", "go.yaml.in/yaml"}, "settings are values: nothing is opened to read them"},
	"internal/worker": {[]string{"subjects", "internal/build", "internal/cache", "internal/clock", "internal/coherence", "internal/config", "internal/deployment", "internal/expiry", "internal/handler", "internal/health", "internal/heap", "internal/jobs", "internal/jsapi", "internal/manager",
		"internal/natsconn", "internal/natsd", "internal/seal", "internal/seal/kms", "internal/store", "internal/store/aws", "internal/store/file", "internal/store/jetstream", "internal/store/kubernetes", "internal/store/memory", "internal/store/policy", "internal/store/router", "internal/store/vault"}, []string{nats, "golang.org/x/sync"},
		"the one place that knows all parts"},
	"internal/repeat":           {nil, nil, "it stands before any log handler"},
	"internal/storereport":      {nil, nil, "it reads what go test says, and knows no store"},
	"internal/testbed/natsbed":  {nil, []string{"github.com/nats-io/nats-server"}, "a bed is a server, and not a part of credbus"},
	"internal/testbed/lagproxy": {nil, nil, "it stands before any server that speaks as Vault does"},
	"internal/testbed":          {nil, nil, "it runs programs and knows none of them"},
	"internal/simulation":       {nil, nil, "it is tests, which may see all that they simulate"},
	"internal/contract":         {nil, []string{"go.yaml.in/yaml"}, "it reads declarations, and uses none of them"},
	"internal/bench":            {[]string{"subjects"}, []string{nats}, "it measures from outside"},
	"internal/history":          {nil, []string{"github.com/anishathalye/porcupine"}, "a judge that knew the accused could not be trusted"},
	"internal/imports":          {nil, nil, "a test"},
	"cmd/worker":                {[]string{"subjects", "internal/cli", "internal/config", "internal/heap", "internal/repeat", "internal/worker"}, []string{cobra}, "configuration and wiring only"},
	"cmd/credbus": {[]string{"subjects", "client", "internal/cli", "internal/config", "internal/natsconn", "internal/seal", "internal/seal/kms"}, []string{"github.com/gofrs/flock", cobra, nats, natscontext, "github.com/schollz/progressbar", "github.com/spf13/pflag", "golang.org/x/term"},
		"the command line does what any client may, and edits keyrings"},
}

const (
	msgpack      = "github.com/vmihailenco/msgpack"
	nats         = "github.com/nats-io/nats.go"
	natscontext  = "github.com/synadia-io/orbit.go/natscontext"
	jetstreamext = "github.com/synadia-io/orbit.go/jetstreamext"
	cobra        = "github.com/spf13/cobra"
	module       = "credbus/"
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
