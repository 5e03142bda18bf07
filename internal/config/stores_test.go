package config

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"credbus/subjects"
)

const severalStores = `
store:
  type: vault
  read_timeout: 3s
  routes: [org:acme=vault-eu, "org:acme/team:lab=lab", org:old=default]
stores:
  vault-eu:
    type: vault
    form: native
    vault: {address: "https://vault:8200", token: ` + secret + `}
    write_timeout: 20s
  lab: {}
  spare:
`

func TestNamedStores(t *testing.T) {
	file := writeYAML(t, severalStores)
	c := mustLoad(t, []string{"--config", file, "--data-dir", "/data", "--store.retries=1"}, "CREDBUS_STORE_BREAKER_DELAY=7s", "VAULT_TOKEN=of-the-default")
	wantRoutes := []Route{{"org:acme", "vault-eu"}, {"org:acme/team:lab", "lab"}, {"org:old", DefaultStore}}
	if !reflect.DeepEqual(c.Store.Routes, wantRoutes) {
		t.Errorf("routes are %v", c.Store.Routes)
	}
	eu := c.Stores["vault-eu"]
	if eu.Type != "vault" || !eu.Native() || eu.Vault.Address != "https://vault:8200" || eu.Vault.Token != secret || eu.Vault.Auth != "token" {
		t.Errorf("vault-eu is %+v", eu)
	}
	// Timeouts, retries and breaker come from store, whatever source set them there.
	if eu.ReadTimeout != 3*time.Second || eu.WriteTimeout != 20*time.Second || eu.Retries != 1 || eu.BreakerDelay != 7*time.Second || eu.BreakerFailures != 10 {
		t.Errorf("the policy of vault-eu is %+v", eu)
	}
	lab := c.Stores["lab"]
	if dir := mustAbs(t, "/data/stores/lab/credentials"); lab.Type != "file" || lab.Dir != dir || c.Store.Dir == dir {
		t.Errorf("lab is %+v", lab)
	}
	if c.Store.Vault.Token != "of-the-default" || lab.Vault.Token != "" {
		t.Error("a variable reaches another store than that of store.*")
	}
	if all := c.AllStores(); len(all) != 4 || all[DefaultStore].Dir != c.Store.Dir || all["spare"].Type != "file" {
		t.Errorf("all stores are %v", all)
	}

	var out bytes.Buffer
	if err := c.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, secret) {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, line := range []string{
		"routes: ['org:acme=vault-eu', 'org:acme/team:lab=lab', 'org:old=default'] # " + file,
		"stores:\n  lab:\n    type: file # default", "  vault-eu:\n    type: vault # " + file, "      address: https://vault:8200 # " + file,
		"      token: '[redacted]' # " + file, "    read_timeout: 3s # store.read_timeout", "    write_timeout: 20s # " + file,
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\"", "'"), line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	mended := strings.NewReplacer("token: '[redacted]' # "+file, "token: "+secret, "'[redacted]'", "of-the-default").Replace(text)
	again := mustLoad(t, []string{"--config", writeYAML(t, mended)})
	again.values, c.values, again.table, c.table = nil, nil, nil, nil
	if !reflect.DeepEqual(again, c) {
		t.Errorf("round trip:\n%+v\n%+v", again, c)
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

func TestWrongStores(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		args []string
		want []string
	}{
		"value":          {yaml: "stores: {eu: {type: vault, vault: {address: vault}}}", want: []string{`stores.eu.vault.address in FILE is vault: must be https://host:port`}},
		"secret":         {yaml: "stores: {eu: {vault: {token: 5}}}", want: []string{"stores.eu.vault.token in FILE is [redacted]: must be a text"}},
		"unknown":        {yaml: "stores: {eu: {vault: {adress: x}}}", want: []string{"stores.eu.vault.adress in FILE is not a setting: did you mean stores.eu.vault.address?"}},
		"routes of one":  {yaml: "stores: {eu: {routes: [org:a=eu]}}", want: []string{"stores.eu.routes in FILE is not a setting"}},
		"group":          {yaml: "stores: {eu: {vault: x}}", want: []string{"stores.eu.vault in FILE is a single value: it is a group of settings, such as stores.eu.vault.address"}},
		"no group":       {yaml: "stores: {eu: vault}", want: []string{"stores.eu in FILE is a single value: it is a group of settings, such as stores.eu.type"}},
		"no stores":      {yaml: "stores: 5", want: []string{"stores in FILE is a single value: it is a group of settings, such as stores.NAME.type"}},
		"list":           {yaml: "stores: [eu]", want: []string{"stores in FILE is a single value"}},
		"default":        {yaml: "stores: {default: {type: memory}}", want: []string{"stores.default.type in FILE: the name default stands for the store of the settings store.*"}},
		"name":           {yaml: "stores: {'e u': {type: memory}}", want: []string{"stores.e u.type in FILE: the name of a store must be 1 to 64 characters"}},
		"long name":      {yaml: "stores: {" + strings.Repeat("e", 65) + ": {type: memory}}", want: []string{"the name of a store must be 1 to 64 characters"}},
		"native files":   {yaml: "stores: {eu: {form: native}}", want: []string{"stores.eu.form in FILE is native, but stores.eu.type is file, which has no form of its own"}},
		"no recovery":    {args: []string{"--store.aws.force-delete", "--store.aws.recovery-days=7"}, want: []string{"--store.aws.recovery-days is 7, but with --store.aws.force-delete nothing can be recovered"}},
		"native bucket":  {args: []string{"--store.type=jetstream", "--store.form=native"}, want: []string{"--store.form is native, but --store.type is jetstream"}},
		"route nowhere":  {yaml: "store: {routes: [org:a=us]}\nstores: {eu: {}}", want: []string{"store.routes in FILE has org:a=us, but there is no store of that name: define stores.us in the configuration file, or name one of default, eu"}},
		"flag, no store": {args: []string{"--store.routes=org:a=us"}, want: []string{"--store.routes has org:a=us, but there is no store of that name"}},
		"bucket, stream": {yaml: "stores: {eu: {type: jetstream, bucket: X, replicas: 3}}\nstream: {name: KV_X}", want: []string{
			"stream.name in FILE is KV_X, which is the stream of the bucket stores.eu.bucket in FILE", "stores.eu.replicas in FILE is 3, but the embedded server is a single one"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := test.args
			file := writeYAML(t, test.yaml)
			if test.yaml != "" {
				args = append(args, "--config", file)
			}
			_, err := load(t, args)
			for _, want := range test.want {
				wantProblems(t, err, strings.ReplaceAll(want, "FILE", file))
			}
		})
	}
	// Only the file defines a store.
	_, err := load(t, nil, "CREDBUS_STORES_EU_TYPE=vault")
	wantProblems(t, err, "CREDBUS_STORES_EU_TYPE is not a setting: stores beside that of CREDBUS_STORE_TYPE are defined in the configuration file (stores)")
}

// The variables of the vault command count for a store of that type, and are
// weaker than the worker's own settings.
func TestBorrowedVaultVariables(t *testing.T) {
	environ := []string{"VAULT_ADDR=https://vault:8200", "VAULT_TOKEN=" + secret, "VAULT_NAMESPACE=theirs", "VAULT_CACERT=/ca.pem", "VAULT_SKIP_VERIFY=1"}
	c := mustLoad(t, []string{"--store.type=vault", "--store.vault.namespace=mine"}, append(environ, "CREDBUS_STORE_VAULT_TOKEN=own")...)
	want := Vault{Address: "https://vault:8200", Token: "own", Namespace: "mine", CA: mustAbs(t, "/ca.pem"), Mount: "secret", Path: "credbus", Auth: "token"}
	if c.Store.Vault != want {
		t.Errorf("vault is %+v", c.Store.Vault)
	}
	c = mustLoad(t, []string{"--store.type=vault", "--store.vault.token-file=/token"}, environ...)
	if v := c.Store.Vault; v.Token != "" || v.TokenFile != mustAbs(t, "/token") {
		t.Error("a token of the environment is used beside a token file")
	}
	c = mustLoad(t, nil, append(environ, "VAULT_ADDR=unix:///run/vault")...)
	if v := c.Store.Vault; v.Token != "" || v.Address != "" {
		t.Error("a store of files has taken the token of the vault command")
	}
}

func TestKubeconfigs(t *testing.T) {
	list := strings.Join([]string{"/etc/kube", "~/kube"}, string(filepath.ListSeparator))
	c := mustLoad(t, []string{"--store.type=kubernetes"}, "HOME=/home/x", "USERPROFILE=/home/x", "KUBECONFIG="+list)
	want := mustAbs(t, "/etc/kube") + string(filepath.ListSeparator) + filepath.Join("/home/x", "kube")
	if got := c.Store.Kubernetes.Kubeconfig; got != want {
		t.Errorf("kubeconfig is %q, want %q", got, want)
	}
}

func TestRoutes(t *testing.T) {
	for text, want := range map[string][]Route{
		"":                             nil,
		"org:a=default":                {{"org:a", DefaultStore}},
		" org:a=default , org:b/c:d=x": {{"org:a", DefaultStore}, {"org:b/c:d", "x"}},
	} {
		got, err := routeList().parse(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if s := (Route{subjects.Scope("org:a"), "x"}).String(); s != "org:a=x" {
		t.Errorf("it prints as %s", s)
	}
}
