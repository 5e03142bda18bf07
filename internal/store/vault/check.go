package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
)

// startWithin bounds New.
const startWithin = 1800 * time.Millisecond

// Methods of Config.Auth.
const (
	authToken      = "token"
	authAppRole    = "approle"
	authKubernetes = "kubernetes"
)

// segments matches valid values of Mount and Path: without wildcards, a policy
// for one of them covers it alone.
var segments = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,95})*$`)

// complete sets the defaults of c and refuses settings that make no sense.
func (c *Config) complete() error {
	setDefault := func(setting *string, value string) {
		if *setting == "" {
			*setting = value
		}
	}
	setDefault(&c.Mount, DefaultMount)
	setDefault(&c.Path, DefaultPath)
	setDefault(&c.Auth, authToken)
	setDefault(&c.AuthMount, c.Auth)
	setDefault(&c.JWTFile, DefaultJWTFile)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Address = strings.TrimRight(c.Address, "/")
	at, err := url.Parse(c.Address)
	switch {
	case c.Address == "":
		return errors.New("store.vault.address is not set: give the address of Vault, such as https://vault.example:8200")
	case err != nil, at.Scheme != "https" && at.Scheme != "http", at.Host == "", at.User != nil, at.RawQuery != "":
		return errors.New("store.vault.address is not the address of a server: write https://host:port")
	}
	for setting, value := range map[string]string{"mount": c.Mount, "path": c.Path, "auth_mount": c.AuthMount} {
		if !segments.MatchString(value) {
			return fmt.Errorf("store.vault.%s: %q: write names of A-Z a-z 0-9 - _ . with single slashes between them", setting, value)
		}
	}
	switch c.Auth {
	case authToken:
		if (c.Token == "") == (c.TokenFile == "") {
			return errors.New("store.vault.token and store.vault.token_file: set exactly one of them, or another store.vault.auth")
		}
	case authAppRole:
		if c.RoleID == "" {
			return errors.New("store.vault.role_id is not set, but store.vault.auth=approle needs it")
		}
		if c.SecretID != "" && c.SecretIDFile != "" {
			return errors.New("store.vault.secret_id and store.vault.secret_id_file: set only one of them")
		}
	case authKubernetes:
		if c.Role == "" {
			return errors.New("store.vault.role is not set, but store.vault.auth=kubernetes needs it")
		}
	default:
		return fmt.Errorf("store.vault.auth is %q: use token, approle or kubernetes", c.Auth)
	}
	return nil
}

// check logs in, and checks everything that could make a call fail.
func (s *Store) check(caller context.Context) error {
	overdue := fmt.Errorf("%w: Vault at %s (store.vault.address) does not answer: check that the address is right and reachable", store.ErrTimeout, s.config.Address)
	ctx, cancel := context.WithTimeoutCause(caller, startWithin, overdue)
	defer cancel()
	err := s.checkAll(ctx)
	switch {
	case err == nil:
		return nil
	case caller.Err() != nil:
		return caller.Err()
	case context.Cause(ctx) == overdue:
		return overdue
	}
	return err
}

func (s *Store) checkAll(ctx context.Context) error {
	if err := s.checkHealth(ctx); err != nil {
		return err
	}
	if err := s.session.enter(ctx); err != nil {
		return err
	}
	err := s.session.loginLocked(ctx)
	s.session.leave()
	if err != nil {
		return err
	}
	if err := s.checkMount(ctx); err != nil {
		return err
	}
	if err := s.checkNamespace(ctx); err != nil {
		return err
	}
	return s.checkCapabilities(ctx)
}

// checkHealth asks for the server's state, which any client may see in any
// namespace.
func (s *Store) checkHealth(ctx context.Context) error {
	health, err := s.session.entry.WithNamespace("").Sys().HealthWithContext(ctx)
	say := func(text string) error {
		return fmt.Errorf("%w: Vault at %s (store.vault.address) %s", store.ErrUnavailable, s.config.Address, text)
	}
	switch {
	case statusOf(err) != 0:
		return nil // a proxy may block this
	case err != nil:
		return say("cannot be reached: " + reason(err))
	case !health.Initialized:
		return say("is not initialized: vault operator init")
	case health.Sealed:
		return say("is sealed: vault operator unseal")
	case health.ReplicationDRMode == "secondary":
		return say("is a secondary for disaster recovery, which serves nothing: give the address of the primary")
	}
	s.cluster = health.ClusterID
	return nil
}

// checkMount checks that the mount is a KV engine of version 2.
func (s *Store) checkMount(ctx context.Context) error {
	at := "sys/internal/ui/mounts/" + s.config.Mount
	got, err := exchange(ctx, s.client, read(at))
	enable := fmt.Sprintf("vault secrets enable -path=%s -version=2 kv", s.config.Mount)
	switch status := statusOf(err); {
	case status == http.StatusForbidden, status == http.StatusBadRequest:
		return fmt.Errorf("%w: Vault at %s has no mount %s (store.vault.mount), or the policy of the token allows nothing there: %s, and allow create, read, update on %s",
			store.ErrPermission, s.config.Address, s.config.Mount, enable, s.policyPath(s.pathOf("data", "")))
	case err != nil:
		return s.failed(ctx, "read", at, err)
	}
	var mount struct {
		Data struct {
			Path    string            `json:"path"`
			Type    string            `json:"type"`
			UUID    string            `json:"uuid"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if err := got.unmarshal(&mount); err != nil {
		return s.failed(ctx, "read", at, err)
	}
	switch found := mount.Data; {
	case found.Path != s.config.Mount+"/":
		return fmt.Errorf("store.vault.mount: %s is a path in the mount %s: give the mount here, and the rest in store.vault.path", s.config.Mount, found.Path)
	case found.Type != "kv":
		return fmt.Errorf("store.vault.mount: %s is a mount of type %s, not kv: choose another, or %s", s.config.Mount, found.Type, enable)
	case found.Options["version"] != "2":
		return fmt.Errorf("store.vault.mount: %s is KV version 1, which has no conditional writes: vault kv enable-versioning %[1]s, or choose another: %s", s.config.Mount, enable)
	default:
		s.mount = found.UUID
	}
	return nil
}

// checkNamespace checks that the server supports the namespace, if one is set.
// A server without namespaces ignores it. Then workers that share the mount,
// each with its own namespace, would overwrite each other's credentials.
func (s *Store) checkNamespace(ctx context.Context) error {
	if s.config.Namespace == "" {
		return nil
	}
	nowhere := s.client.WithNamespace("credbus-" + strings.ToLower(rand.Text()))
	if _, err := exchange(ctx, nowhere, read("sys/internal/ui/mounts/"+s.config.Mount)); err != nil {
		return nil // as it should be
	}
	return fmt.Errorf("store.vault.namespace is %q, but Vault at %s (store.vault.address) ignores namespaces, which only Vault Enterprise and OpenBao have: remove the setting and VAULT_NAMESPACE, and separate deployments by store.vault.mount or store.vault.path",
		s.config.Namespace, s.config.Address)
}

// checkCapabilities checks that the policies of the token are sufficient.
func (s *Store) checkCapabilities(ctx context.Context) error {
	probe := "level:value/id" // stands for any credential
	needs := map[string][]string{
		s.pathOf("data", probe):     {"create", "read", "update"},
		s.pathOf("metadata", probe): {"read", "delete"},
		s.pathOf("metadata", ""):    {"list"},
		s.pathOf("destroy", probe):  {"update"},
		"auth/token/lookup-self":    {"read"},
	}
	if s.session.current().renewable {
		needs["auth/token/renew-self"] = []string{"update"}
	}
	paths := make([]string, 0, len(needs))
	for path := range needs {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return err
	}
	const at = "sys/capabilities-self"
	got, err := exchange(ctx, s.client, write(at, body))
	var found struct {
		Data map[string]any `json:"data"`
	}
	if err == nil {
		err = got.unmarshal(&found)
	}
	if err != nil {
		return s.failed(ctx, "update", at, err)
	}
	var missing []string
	for _, path := range paths {
		var has []string
		all, _ := found.Data[path].([]any)
		for _, capability := range all {
			has = append(has, fmt.Sprint(capability))
		}
		if slices.Contains(has, "root") {
			continue
		}
		lacks := slices.DeleteFunc(needs[path], func(need string) bool { return slices.Contains(has, need) })
		if len(lacks) > 0 {
			missing = append(missing, strings.Join(lacks, ", ")+" on "+s.policyPath(path))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: permission denied: the policy of the token (%s) must allow %s", store.ErrPermission, s.session.setting(), strings.Join(missing, ", and "))
	}
	return nil
}

func (s *Store) closeConnections() {
	for _, client := range []*api.Client{s.session.client, s.session.entry} {
		client.CloneConfig().HttpClient.CloseIdleConnections()
	}
}
