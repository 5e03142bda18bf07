package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

// The profiles, and the forms in which a grant is printed.
const (
	profileUsers    = "users"
	profileAccounts = "accounts"

	asConfig = "config"
	asJWT    = "jwt"
	asNSC    = "nsc"
)

func (p *program) tenantCommand() *cobra.Command {
	t := &tenant{p: p}
	cmd := &cobra.Command{
		Use:   "tenant [SCOPE] ROLE...",
		Short: "Print what NATS must allow to a role at a scope",
		Long: `Print what NATS must allow to a role at a scope, for the configuration of a server
(-o config), for the JWT of a user (-o jwt), or as commands of nsc (-o nsc). It
connects to nothing, and changes nothing.

Roles at a scope, and at all scopes below it:

  reader      reads credentials
  writer      reads and changes credentials
  submitter   submits and controls jobs
  subscriber  listens to events
  admin       all of these

Roles without a scope:

  operator    anything through the workers, at every scope
  worker      the workers themselves, with the default names of streams

Several roles add up.

--profile users (the default) is for one account: each tenant is a user with subjects
and an inbox of its own. --profile accounts is for an account for each tenant: the
workers' account exports the subjects to the tenant's account, and to no other.

docs/tenancy.md explains both. To see what given credentials may do, use credbus tenant
check. To make a user of the NATS server that a worker runs, use credbus tenant add.`,
		Example: `  credbus tenant org:acme writer subscriber
  credbus tenant org:acme admin --profile accounts -o config`,
		Args: t.parse,
	}
	t.format = formatFlag(cmd, asConfig, asJWT, asNSC)
	cmd.Flags().StringVar(&t.profile, "profile", profileUsers, "users or accounts")
	cmd.Flags().StringVar(&t.name, "name", "", "name of the user, and of its account (default made from the scope or role)")
	cmd.Flags().StringVar(&t.workers, "workers-account", workersAccount, "name or public key of the workers' account, for --profile accounts")
	cmd.Flags().StringArrayVar(&t.inboxes, "client-inbox", nil, "inbox prefix of a client, for the role of a worker (default _INBOX)")
	cmd.RunE = func(*cobra.Command, []string) error { return t.print() }
	cmd.AddCommand(p.tenantCheckCommand(), p.tenantAddCommand(), p.tenantListCommand(), p.tenantRemoveCommand())
	return cmd
}

// workersAccount is the default name of the workers' account.
const workersAccount = "CREDBUS"

// tenant is what the arguments and flags of the tenant commands say.
type tenant struct {
	p       *program
	format  *format
	profile string
	name    string
	workers string
	inboxes []string // of clients, for workers

	config tenancy.Config
	grant  *tenancy.Grant
}

// parse reads the scope, if the first argument is one, and the roles. It makes the grant.
func (t *tenant) parse(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return wrongCount(cmd, args)
	}
	if strings.Contains(args[0], ":") {
		scope, err := subjects.ParseScope(args[0])
		if err != nil {
			return err
		}
		t.config.Scope, args = scope, args[1:]
	}
	for _, arg := range args {
		role, err := tenancy.ParseRole(arg)
		if err != nil {
			return err
		}
		t.config.Roles = append(t.config.Roles, role)
	}
	prefix, err := subjects.ParsePrefix(cmp.Or(t.p.connection.prefix, os.Getenv("CREDBUS_NATS_PREFIX"), string(subjects.DefaultPrefix)))
	if err != nil {
		return err
	}
	t.config.Prefix = prefix
	t.config.Names.Inboxes = t.inboxes
	if t.profile != profileUsers && t.profile != profileAccounts {
		return fmt.Errorf("--profile %q: it is users or accounts", t.profile)
	}
	if t.name == "" {
		t.name = nameOf(t.config)
	}
	for flag, name := range map[string]string{"--name": t.name, "--workers-account": t.workers} {
		if !nameForm.MatchString(name) {
			return fmt.Errorf("%s %q: only A-Z a-z 0-9 - _ are allowed", flag, name)
		}
	}
	t.config.Inbox = t.p.connection.nats.InboxPrefix
	if t.config.Inbox == "" && t.profile == profileUsers {
		t.config.Inbox = "_INBOX_" + t.name
	}
	if t.profile == profileAccounts {
		for _, role := range t.config.Roles {
			if !role.HasScope() {
				return fmt.Errorf("%s belongs to the workers' account: use --profile users", role)
			}
		}
	}
	t.grant, err = tenancy.New(t.config)
	return err
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// nameOf is the default name of a user: org:acme/team:eng is acme-eng.
func nameOf(c tenancy.Config) string {
	if c.Scope == subjects.Root {
		if len(c.Roles) > 0 {
			return string(c.Roles[0])
		}
		return "user"
	}
	var values []string
	for segment := range strings.SplitSeq(string(c.Scope), "/") {
		_, value, _ := strings.Cut(segment, ":")
		values = append(values, regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(value, "_"))
	}
	return strings.Join(values, "-")
}

func (t *tenant) print() error {
	out := t.p.stdout
	if hint := t.inboxHint(); hint != "" && t.profile == profileUsers && t.format.chosen != asConfig {
		t.p.say("%s", hint)
	}
	switch {
	case t.format.chosen == asJWT && t.profile == profileAccounts:
		text, err := t.grant.AccountClaims(t.workers)
		return errors.Join(err, writeLine(out, text))
	case t.format.chosen == asJWT:
		text, err := t.grant.Claims()
		return errors.Join(err, writeLine(out, text))
	case t.format.chosen == asNSC && t.profile == profileAccounts:
		_, err := fmt.Fprint(out, t.grant.NSCAccount(t.workers, t.name))
		return err
	case t.format.chosen == asNSC:
		_, err := fmt.Fprint(out, t.grant.NSC(t.workers, t.name))
		return err
	case t.profile == profileAccounts:
		_, err := fmt.Fprint(out, t.accountConfig())
		return err
	}
	_, err := fmt.Fprint(out, t.userConfig())
	return err
}

// inboxHint says what clients and workers must know of the inbox of a user that gets replies.
func (t *tenant) inboxHint() string {
	if t.config.Roles[0] == tenancy.Worker || len(t.grant.Inboxes) == 0 {
		return ""
	}
	return fmt.Sprintf("Its clients use --inbox-prefix %s, and nats.inbox_prefixes of the workers has %[1]s.", t.config.Inbox)
}

func (t *tenant) userConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n", t.name, t.config)
	if hint := t.inboxHint(); hint != "" {
		fmt.Fprintf(&b, "# %s\n", hint)
	}
	permissions := "credbus_" + t.name
	b.WriteString(t.grant.Permissions(permissions))
	fmt.Fprintf(&b, "\n# Among the users of the account:\n#   { user: %s, password: \"...\", permissions: $%s }\n", tenancy.Word(t.name), permissions)
	return b.String()
}

func (t *tenant) accountConfig() string {
	indent := func(text string) string {
		return strings.ReplaceAll(strings.TrimSuffix("      "+strings.ReplaceAll(text, "\n", "\n      "), "      "), "\n      \n", "\n")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n", t.name, t.config)
	fmt.Fprintf(&b, "accounts: {\n  # Add these to the exports of the workers' account.\n  %s: {\n    exports: [\n%s    ]\n  }\n", tenancy.Word(t.workers), indent(t.grant.Exports(t.name)))
	fmt.Fprintf(&b, "  %s: {\n    imports: [\n%s    ]\n", tenancy.Word(t.name), indent(t.grant.Imports(t.workers)))
	fmt.Fprintf(&b, "    users: [\n      { user: %s, password: \"...\" }\n    ]\n  }\n}\n", tenancy.Word(t.name))
	return b.String()
}
