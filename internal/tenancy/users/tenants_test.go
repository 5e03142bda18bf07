package users

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"credbus/internal/tenancy"
)

// dataDir is one where a worker has run.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	client, err := LoadOrGenerate(filepath.Join(dir, ClientName), "client", "client")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Save("nats://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAddAndRemove(t *testing.T) {
	dir := dataDir(t)
	acme := Tenant{Name: "acme", Scope: "org:acme", Roles: []tenancy.Role{tenancy.Reader, tenancy.Subscriber}}
	path, err := Add(t.Context(), dir, acme)
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "acme" || c.InboxPrefix != "_INBOX.acme" || c.URL != "nats://127.0.0.1:1" || len(c.Password) < 26 {
		t.Error("its context lacks something")
	}
	list, err := os.ReadFile(TenantsFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(list), c.Password) {
		t.Error("the list holds the password")
	}
	if _, err := Add(t.Context(), dir, acme); !errors.Is(err, ErrExists) {
		t.Errorf("the same name: %v", err)
	}
	capitals := acme
	capitals.Name = "ACME"
	if _, err := Add(t.Context(), dir, capitals); !errors.Is(err, ErrExists) {
		t.Errorf("the same name in capitals: %v", err)
	}
	if again, err := load(path); err != nil || again.Password != c.Password {
		t.Errorf("a refused name changed the context: %v", err)
	}
	if err := Remove(t.Context(), dir, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another name: %v", err)
	}
	if err := Remove(t.Context(), dir, "acme"); err != nil {
		t.Fatal(err)
	}
	if tenants, err := Tenants(dir); err != nil || len(tenants) != 0 {
		t.Errorf("after Remove: %v, %v", tenants, err)
	}
}

func TestAddsAtOnce(t *testing.T) {
	dir := dataDir(t)
	var adding sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		adding.Go(func() {
			if _, err := Add(t.Context(), dir, Tenant{Name: name, Scope: "org:a", Roles: []tenancy.Role{tenancy.Reader}}); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	if tenants, err := Tenants(dir); err != nil || len(tenants) != 4 {
		t.Errorf("%d of 4 tenants, %v", len(tenants), err)
	}
}

func TestAddRefuses(t *testing.T) {
	reader := []tenancy.Role{tenancy.Reader}
	for _, test := range []struct {
		name   string
		tenant Tenant
		want   string
	}{
		{"no name", Tenant{Scope: "org:a", Roles: reader}, "name"},
		{"a path", Tenant{Name: "../a", Scope: "org:a", Roles: reader}, "name"},
		{"a subject", Tenant{Name: "a.>", Scope: "org:a", Roles: reader}, "name"},
		{"a flag", Tenant{Name: "-a", Scope: "org:a", Roles: reader}, "name"},
		{"the worker's", Tenant{Name: "worker", Scope: "org:a", Roles: reader}, "already"},
		{"the worker's in capitals", Tenant{Name: "Worker", Scope: "org:a", Roles: reader}, "already"},
		{"the operator's", Tenant{Name: "client", Scope: "org:a", Roles: reader}, "already"},
		{"a worker", Tenant{Name: "a", Roles: []tenancy.Role{tenancy.Worker}}, "worker.json"},
		{"no role", Tenant{Name: "a", Scope: "org:a"}, "no role"},
		{"no scope", Tenant{Name: "a", Roles: reader}, "held at a scope"},
		{"a wrong scope", Tenant{Name: "a", Scope: "org", Roles: reader}, "org"},
		{"an unknown role", Tenant{Name: "a", Scope: "org:a", Roles: []tenancy.Role{"root"}}, "root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := dataDir(t)
			if _, err := Add(t.Context(), dir, test.tenant); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if _, err := os.Stat(TenantsFile(dir)); !os.IsNotExist(err) {
				t.Errorf("a list was written: %v", err)
			}
		})
	}
	if _, err := Add(t.Context(), t.TempDir(), Tenant{Name: "a", Scope: "org:a", Roles: reader}); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a worker: %v", err)
	}
}

func TestTenantsRefuses(t *testing.T) {
	const hash = `$2a$04$lxmkmbw7AoICpz2GmYLQ6OM.XrHXaOFZy4ou9d6nUMb8R53gVoQyS`
	const one = `{"name":"a","scope":"org:a","roles":["reader"],"password_hash":"` + hash + `"}`
	tenant := func(fields string) string { return `{"tenants":[` + strings.TrimSuffix(one, "}") + fields + `}]}` }
	for _, test := range []struct{ name, content, want string }{
		{"not JSON", "tenants", "credbus tenant add"},
		{"another field", tenant(`,"admin":true`), "admin"},
		{"a rest", tenant("") + "{}", "follows"},
		{"twice", `{"tenants":[` + strings.Repeat(","+one, 2)[1:] + "]}", "already"},
		{"no hash", `{"tenants":[{"name":"a","scope":"org:a","roles":["reader"],"password_hash":"hunter2"}]}`, "bcrypt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(TenantsFile(dir), []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Tenants(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(TenantsFile(dir), []byte(tenant("")), 0o600); err != nil {
		t.Fatal(err)
	}
	if tenants, err := Tenants(dir); err != nil || len(tenants) != 1 {
		t.Fatalf("a good list: %v", err)
	}
	if runtime.GOOS == "windows" {
		return // access follows the ACL of the directory
	}
	if err := os.Chmod(TenantsFile(dir), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Tenants(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a list that others may write: %v", err)
	}
}
