package tenancy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

var update = flag.Bool("update", false, "write deploy/nats anew")

const (
	usersHead = `# One account: each tenant is a user with its own subjects and inbox. See docs/tenancy.md.
#
# Change the passwords (nats server passwd makes hashes of them). Add a tenant with what
# credbus tenant prints for it, and add its inbox to the permissions of the workers
# (credbus tenant worker --client-inbox ...) and to their setting nats.inbox_prefixes.
#
# The setting of the workers is here: nats.inbox_prefixes: _INBOX_acme,_INBOX_acme_api,_INBOX_operator

jetstream: enabled

`
	accountsHead = `# An account for each tenant: the workers' account exports the subjects of a tenant to the
# tenant's account, and to no other. See docs/tenancy.md.
#
# Change the passwords (nats server passwd makes hashes of them). Add a tenant with what
# credbus tenant --profile accounts prints for it.

jetstream: enabled

`
)

// TestDeploy holds the ready configurations in deploy/nats to the roles.
func TestDeploy(t *testing.T) {
	tenants := []struct {
		name  string
		scope subjects.Scope
		role  tenancy.Role
	}{
		{"acme", "org:acme", tenancy.Admin},
		{"acme_api", "org:acme/team:eng/service:api", tenancy.Reader},
	}
	var users, blocks strings.Builder
	inboxes := []string{}
	user := func(name, comment string, c tenancy.Config) {
		g, err := tenancy.New(c)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&blocks, "# %s\n%s\n", comment, g.Permissions("credbus_"+name))
		fmt.Fprintf(&users, "    { user: %s, password: \"change-me-%s\", permissions: $credbus_%s }\n", name, name, name)
	}
	var exports, accounts strings.Builder
	indent := func(text string) string {
		return "      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") + "\n"
	}
	for _, tenant := range tenants {
		inbox := "_INBOX_" + tenant.name
		inboxes = append(inboxes, inbox)
		comment := fmt.Sprintf("%s: %s at %s and below", tenant.name, tenant.role, tenant.scope)
		user(tenant.name, comment, tenancy.Config{Scope: tenant.scope, Roles: []tenancy.Role{tenant.role}, Inbox: inbox})
		g, err := tenancy.New(tenancy.Config{Scope: tenant.scope, Roles: []tenancy.Role{tenant.role}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&exports, "      # %s\n%s", comment, indent(g.Exports(tenant.name)))
		fmt.Fprintf(&accounts, "\n  # %s\n  %s: {\n    imports: [\n%s    ]\n    users: [\n      { user: %s, password: \"change-me-%s\" }\n    ]\n  }\n",
			comment, tenant.name, indent(g.Imports("CREDBUS")), tenant.name, tenant.name)
	}
	user("operator", "operator: the people who run the workers", tenancy.Config{Roles: []tenancy.Role{tenancy.Operator}, Inbox: "_INBOX_operator"})
	user("worker", "worker: the workers", tenancy.Config{Roles: []tenancy.Role{tenancy.Worker}, Names: tenancy.Names{Inboxes: append(inboxes, "_INBOX_operator")}})
	for file, want := range map[string]string{
		"users.conf": usersHead + blocks.String() + "authorization: {\n  users: [\n" + users.String() + "  ]\n}\n",
		"accounts.conf": accountsHead + "accounts: {\n  CREDBUS: {\n    jetstream: enabled\n    exports: [\n" + exports.String() +
			"    ]\n    # Users of this account may do anything with credbus: workers and operators.\n    users: [\n      { user: worker, password: \"change-me-worker\" }\n      { user: operator, password: \"change-me-operator\" }\n    ]\n  }\n" +
			accounts.String() + "}\n",
	} {
		path := "../../deploy/nats/" + file
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("deploy/nats/%s is not what the roles make (%v): go test ./internal/tenancy -run TestDeploy -update", file, err)
		}
	}
}
