package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

// printed is the tenant that credbus tenant makes of its arguments.
func printed(t *testing.T, profile, scope string, role tenancy.Role) *tenant {
	t.Helper()
	made := &tenant{p: new(program), profile: profile, workers: workersAccount}
	if err := made.parse(nil, []string{scope, string(role)}); err != nil {
		t.Fatal(err)
	}
	return made
}

func options(t *testing.T, config string) *server.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatalf("%v:\n%s", err, config)
	}
	return o
}

// TestPrintedUsers: a server reads what is printed, whatever the scopes are called, and each user gets the
// permissions of its own scope.
func TestPrintedUsers(t *testing.T) {
	scopes := []string{"org:acme/team:eng", "org:acme_eng", "org:42", "org:10k", "org:true", "org:Off", "org:1e3"}
	var config, users strings.Builder
	for i, scope := range scopes {
		role := []tenancy.Role{tenancy.Reader, tenancy.Admin}[i%2]
		text := printed(t, profileUsers, scope, role).userConfig()
		config.WriteString(text)
		_, line, found := strings.Cut(text, "#   {")
		if !found {
			t.Fatal(text)
		}
		users.WriteString("{" + line)
	}
	fmt.Fprintf(&config, "authorization: { users: [\n%s] }\n", users.String())
	o := options(t, config.String())
	if len(o.Users) != len(scopes) {
		t.Fatalf("%d users", len(o.Users))
	}
	for i, user := range o.Users {
		want := "cred.v1.retrieve." + strings.ReplaceAll(scopes[i], "/", ".")
		if !slices.Contains(user.Permissions.Publish.Allow, want) {
			t.Errorf("%s may not publish to %s: %v", user.Username, want, user.Permissions.Publish.Allow)
		}
		if may := slices.Contains(user.Permissions.Publish.Allow, strings.Replace(want, "retrieve", "store", 1)); may != (i%2 == 1) {
			t.Errorf("%s may store: %v", user.Username, may)
		}
	}
}

// TestPrintedAccounts: the same of accounts.
func TestPrintedAccounts(t *testing.T) {
	for _, scope := range []string{"org:acme/team:eng", "org:42", "org:10k", "org:true", "org:on"} {
		o := options(t, printed(t, profileAccounts, scope, tenancy.Writer).accountConfig())
		if len(o.Accounts) != 2 || len(o.Users) != 1 {
			t.Errorf("%s: %d accounts, %d users", scope, len(o.Accounts), len(o.Users))
		}
	}
}

// TestTenantRefuses: what would allow more than the role, or would be no name.
func TestTenantRefuses(t *testing.T) {
	for what, change := range map[string]func(*tenant){
		"an inbox that is everybody's":      func(made *tenant) { made.p.connection.nats.InboxPrefix = "*" },
		"an inbox with a space":             func(made *tenant) { made.p.connection.nats.InboxPrefix = "_INBOX a" },
		"an inbox with an empty word":       func(made *tenant) { made.p.connection.nats.InboxPrefix = "_INBOX..a" },
		"an inbox that has the events":      func(made *tenant) { made.p.connection.nats.InboxPrefix = "cred.v1.event" },
		"an inbox above the workers":        func(made *tenant) { made.p.connection.nats.InboxPrefix = "cred" },
		"an inbox of a client with a star":  func(made *tenant) { made.inboxes = []string{"*"} },
		"an account that ends the command":  func(made *tenant) { made.workers = "A; touch x" },
		"a name that ends the command":      func(made *tenant) { made.name = "a b" },
		"an inbox of a client with the bus": func(made *tenant) { made.inboxes = []string{string(subjects.DefaultPrefix)} },
	} {
		made := &tenant{p: new(program), profile: profileUsers, workers: workersAccount}
		change(made)
		if err := made.parse(nil, []string{"org:acme", string(tenancy.Reader)}); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
