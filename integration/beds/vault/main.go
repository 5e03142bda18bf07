// A Vault server for tests: see internal/testbed. It keeps everything in files, also the
// unseal key and root token, so that it serves again after kill -9.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

func main() {
	data := flag.String("data", "", "directory for all data; a temporary one if empty")
	port := flag.Int("port", 0, "port on 127.0.0.1; any free one if 0")
	flag.Parse()
	if err := run(*data, *port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(data string, port int) error {
	if data == "" {
		temporary, err := os.MkdirTemp("", "credbus-bed-vault-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		data = temporary
	}
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})
	disk, err := file.NewFileBackend(map[string]string{"path": filepath.Join(data, "vault")}, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           disk,
		DisableMlock:       true,
		Logger:             logger,
		LogicalBackends:    secretsEngines,
		CredentialBackends: authMethods,
		BuiltinRegistry:    registry{},
		PluginDirectory:    "",
		DefaultLeaseTTL:    24 * time.Hour,
		MaxLeaseTTL:        240 * time.Hour,
	})
	if err != nil {
		return err
	}
	token, err := open(core, filepath.Join(data, "keys.json"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core: core, ListenerConfig: &configutil.Listener{},
	})}
	go server.Serve(listener)
	line, err := json.Marshal(map[string]string{
		"address": "http://" + listener.Addr().String(),
		"port":    fmt.Sprint(listener.Addr().(*net.TCPAddr).Port),
		"token":   token,
	})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	return core.Shutdown()
}

// keys are what later starts need.
type keys struct {
	Unseal [][]byte `json:"unseal"`
	Token  string   `json:"token"`
}

// open unseals the core and returns the root token. The first time it creates the keys and
// the token, and mounts what tests expect.
func open(core *vault.Core, path string) (token string, err error) {
	ctx := namespace.RootContext(context.Background())
	var k keys
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &k); err != nil {
			return "", err
		}
	case errors.Is(err, os.ErrNotExist):
		seal := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1}
		made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: seal, RecoveryConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
		if err != nil {
			return "", err
		}
		k = keys{Unseal: made.SecretShares, Token: made.RootToken}
		if text, err = json.Marshal(k); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return "", err
		}
	default:
		return "", err
	}
	for _, key := range k.Unseal {
		if _, err := core.Unseal(key); err != nil {
			return "", err
		}
	}
	if core.Sealed() {
		return "", errors.New("the core stays sealed")
	}
	return k.Token, mount(ctx, core, k.Token)
}

// mount mounts secret/ (KV v2), transit/ and the auth methods, unless they are mounted
// already.
func mount(ctx context.Context, core *vault.Core, token string) error {
	for _, m := range []struct {
		path string
		data map[string]any
	}{
		{"sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}},
		{"sys/mounts/transit", map[string]any{"type": "transit"}},
		{"sys/auth/approle", map[string]any{"type": "approle"}},
		{"sys/auth/kubernetes", map[string]any{"type": "kubernetes"}},
	} {
		there, err := core.HandleRequest(ctx, &logical.Request{Operation: logical.ReadOperation, Path: m.path, ClientToken: token})
		if err == nil && there != nil && !there.IsError() {
			continue
		}
		answer, err := core.HandleRequest(ctx, &logical.Request{
			Operation: logical.UpdateOperation, Path: m.path, ClientToken: token, Data: m.data,
		})
		if err == nil && answer.IsError() {
			err = answer.Error()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return nil
}

var (
	secretsEngines = map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory}
	authMethods    = map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubernetes.Factory}
)

// registry names the built-in plugins. The server's own registry would link all plugins.
type registry struct{}

func (registry) factories(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return secretsEngines
	case consts.PluginTypeCredential:
		return authMethods
	}
	return nil
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.factories(kind)[name]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := r.factories(kind)[name]
	return func() (any, error) { return factory, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) (names []string) {
	for name := range r.factories(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
