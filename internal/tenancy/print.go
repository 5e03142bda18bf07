package tenancy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
)

// Permissions writes the grant as a block of a server's configuration, for users that have
// permissions: $name.
func (g *Grant) Permissions(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: {\n", name)
	writeList(&b, "publish", g.PublishAll())
	writeList(&b, "subscribe", g.SubscribeAll())
	b.WriteString("}\n")
	return b.String()
}

// writeList writes a list of permissions. The server takes an empty one for everything, so
// that is denied by name.
func writeList(b *strings.Builder, word string, subjects []string) {
	if len(subjects) == 0 {
		fmt.Fprintf(b, "  %s: { deny: [\">\"] }\n", word)
		return
	}
	fmt.Fprintf(b, "  %s: {\n    allow: [\n", word)
	for _, subject := range subjects {
		fmt.Fprintf(b, "      %q\n", subject)
	}
	b.WriteString("    ]\n  }\n")
}

// Claims are the permissions in the JWT of a user, as JSON.
func (g *Grant) Claims() ([]byte, error) {
	permissions := jwt.Permissions{Pub: permission(g.PublishAll()), Sub: permission(g.SubscribeAll())}
	return json.MarshalIndent(struct {
		NATS jwt.Permissions `json:"nats"`
	}{permissions}, "", "  ")
}

func permission(subjects []string) jwt.Permission {
	if len(subjects) == 0 {
		return jwt.Permission{Deny: jwt.StringList{">"}}
	}
	return jwt.Permission{Allow: subjects}
}

// NSC is the command that makes a user with the grant in an account.
func (g *Grant) NSC(account, user string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nsc add user --account %s --name %s", account, user)
	for _, list := range []struct {
		flag     string
		subjects []string
	}{{"pub", g.PublishAll()}, {"sub", g.SubscribeAll()}} {
		if len(list.subjects) == 0 {
			fmt.Fprintf(&b, " \\\n  --deny-%s '>'", list.flag)
			continue
		}
		for _, subject := range list.subjects {
			fmt.Fprintf(&b, " \\\n  --allow-%s '%s'", list.flag, subject)
		}
	}
	b.WriteString("\n")
	return b.String()
}

var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// Word is a name as a server's configuration has it. The server would read some, such as 42 or
// on, as a number or a truth value if they had no quotes.
func Word(name string) string {
	if !plain.MatchString(name) || slices.Contains([]string{"true", "false", "on", "off", "yes", "no"}, strings.ToLower(name)) {
		return strconv.Quote(name)
	}
	return name
}

// Exports is what the workers' account exports to the account of a tenant, and to no other,
// as entries of its exports in a server's configuration.
func (g *Grant) Exports(tenant string) string {
	var b strings.Builder
	for _, subject := range g.Services {
		fmt.Fprintf(&b, "{ service: %q, accounts: [%s] }\n", subject, Word(tenant))
	}
	for _, subject := range g.Streams {
		fmt.Fprintf(&b, "{ stream: %q, accounts: [%s] }\n", subject, Word(tenant))
	}
	return b.String()
}

// Imports is what the account of a tenant imports from the workers' account.
func (g *Grant) Imports(workers string) string {
	var b strings.Builder
	for _, subject := range g.Services {
		fmt.Fprintf(&b, "{ service: { account: %s, subject: %q } }\n", Word(workers), subject)
	}
	for _, subject := range g.Streams {
		fmt.Fprintf(&b, "{ stream: { account: %s, subject: %q } }\n", Word(workers), subject)
	}
	return b.String()
}

// AccountClaims are the exports in the JWT of the workers' account and the imports in that of a
// tenant, as JSON. Each export needs a token, which the workers' account gives to the tenant's.
func (g *Grant) AccountClaims(workers string) ([]byte, error) {
	var exports, imports []any
	add := func(list []string, kind jwt.ExportType) {
		for _, subject := range list {
			exports = append(exports, &jwt.Export{Name: subject, Subject: jwt.Subject(subject), Type: kind, TokenReq: true})
			imports = append(imports, &jwt.Import{Name: subject, Subject: jwt.Subject(subject), Account: workers, Token: "ACTIVATION-TOKEN", Type: kind})
		}
	}
	add(g.Services, jwt.Service)
	add(g.Streams, jwt.Stream)
	return json.MarshalIndent(map[string]any{"exports": exports, "imports": imports}, "", "  ")
}

// NSCAccount is the commands that export the grant from the workers' account to a tenant's,
// and import it there.
func (g *Grant) NSCAccount(workers, tenant string) string {
	var b strings.Builder
	one := func(subject, kind string) {
		file := fmt.Sprintf("%s-%s.token", kind, strings.NewReplacer(".", "-", ":", "-", ">", "all", "*", "any").Replace(subject))
		fmt.Fprintf(&b, "nsc add export --account %s --private %s--subject '%s'\n", workers, serviceFlag(kind), subject)
		fmt.Fprintf(&b, "nsc generate activation --account %s --target-account %s --subject '%s' --output-file %s\n", workers, tenant, subject, file)
		fmt.Fprintf(&b, "nsc add import --account %s --token %s\n", tenant, file)
	}
	for _, subject := range g.Services {
		one(subject, "service")
	}
	for _, subject := range g.Streams {
		one(subject, "stream")
	}
	return b.String()
}

func serviceFlag(kind string) string {
	if kind == "service" {
		return "--service "
	}
	return ""
}
