package tenancy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/conf"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

func grant(t *testing.T, scope subjects.Scope, roles ...tenancy.Role) *tenancy.Grant {
	t.Helper()
	g, err := tenancy.New(tenancy.Config{Scope: scope, Roles: roles, Inbox: "_INBOX_acme"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestWorkerFile holds deploy/jetstream/worker.conf to the role of a worker.
func TestWorkerFile(t *testing.T) {
	page, err := os.ReadFile("../../deploy/jetstream/worker.conf")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := conf.Parse(string(page))
	if err != nil {
		t.Fatal(err)
	}
	block := parsed["credbus_worker"].(map[string]any)
	list := func(of string) (subjects []string) {
		for _, subject := range block[of].(map[string]any)["allow"].([]any) {
			subjects = append(subjects, subject.(string))
		}
		slices.Sort(subjects)
		return subjects
	}
	g := grant(t, subjects.Root, tenancy.Worker)
	if got, want := slices.Sorted(slices.Values(g.PublishAll())), list("publish"); !slices.Equal(got, want) {
		t.Errorf("publish %q\nthe file has %q", got, want)
	}
	if got, want := slices.Sorted(slices.Values(g.SubscribeAll())), list("subscribe"); !slices.Equal(got, want) {
		t.Errorf("subscribe %q\nthe file has %q", got, want)
	}
}

// TestPage holds the lists of docs/permissions.md to the roles.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, block := range regexp.MustCompile("(?s)```text\n(credbus_(\\w+): .*?)```").FindAllStringSubmatch(string(page), -1) {
		role := tenancy.Role(block[2])
		config := tenancy.Config{Roles: []tenancy.Role{role}, Inbox: "_INBOX_ops"}
		if role.HasScope() {
			config.Scope, config.Inbox = "org:acme", "_INBOX_acme"
		}
		g, err := tenancy.New(config)
		if err != nil {
			t.Fatal(err)
		}
		written, err := conf.Parse(block[1])
		if err != nil {
			t.Fatal(err)
		}
		made, err := conf.Parse(g.Permissions("credbus_" + block[2]))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"publish", "subscribe"} {
			got, want := allowed(made, block[2], word), allowed(written, block[2], word)
			if role == tenancy.Operator && word == "publish" {
				// The page is shorter: job.> and admin.> stand for their commands.
				want = slices.DeleteFunc(want, func(s string) bool { return s == "cred.v1.job.>" || s == "cred.v1.admin.>" })
				got = slices.DeleteFunc(got, func(s string) bool {
					return strings.HasPrefix(s, "cred.v1.job.") || strings.HasPrefix(s, "cred.v1.admin.")
				})
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s %q\nthe page has %q", role, word, got, want)
			}
		}
		seen++
	}
	if seen != 5 {
		t.Errorf("%d roles are on the page, want 5", seen)
	}
}

// allowed is a list of permissions, sorted, in either of its two forms.
func allowed(parsed map[string]any, role, word string) (subjects []string) {
	list, short := parsed["credbus_"+role].(map[string]any)[word].([]any)
	if !short {
		list, _ = parsed["credbus_"+role].(map[string]any)[word].(map[string]any)["allow"].([]any)
	}
	for _, subject := range list {
		subjects = append(subjects, subject.(string))
	}
	slices.Sort(subjects)
	return subjects
}

// TestCommandsHaveRoles: no command is forgotten, and admins have all that tenants may do.
func TestCommandsHaveRoles(t *testing.T) {
	admin := grant(t, "org:acme", tenancy.Admin)
	for _, command := range subjects.Commands {
		if subject := subjects.DefaultPrefix.Command(command, "org:acme"); !slices.Contains(admin.Services, subject) {
			t.Errorf("no role of a tenant has %s", subject)
		}
	}
	joined := grant(t, "org:acme", tenancy.Reader, tenancy.Writer, tenancy.Submitter, tenancy.Subscriber)
	for _, lists := range [][2][]string{{joined.PublishAll(), admin.PublishAll()}, {joined.SubscribeAll(), admin.SubscribeAll()}} {
		slices.Sort(lists[0])
		slices.Sort(lists[1])
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("the roles of an admin are %q, an admin has %q", lists[0], lists[1])
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, config := range map[string]tenancy.Config{
		"no role":              {Scope: "org:acme"},
		"reader without scope": {Roles: []tenancy.Role{tenancy.Reader}},
		"operator of a scope":  {Scope: "org:acme", Roles: []tenancy.Role{tenancy.Operator}},
	} {
		if _, err := tenancy.New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := tenancy.ParseRole("root"); err == nil || !strings.Contains(err.Error(), "reader") {
		t.Errorf("a role that does not exist: %v", err)
	}
}

// TestClaims: the JWT library reads the same permissions.
func TestClaims(t *testing.T) {
	for _, role := range []tenancy.Role{tenancy.Reader, tenancy.Subscriber} {
		g := grant(t, "org:acme", role)
		text, err := g.Claims()
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.NewUserClaims("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4")
		if err := json.Unmarshal(text, &struct{ NATS *jwt.User }{&claims.User}); err != nil {
			t.Fatal(err)
		}
		var problems jwt.ValidationResults
		claims.Validate(&problems)
		if len(problems.Issues) > 0 {
			t.Errorf("%s: %+v", role, problems.Issues)
		}
		if !slices.Equal([]string(claims.Sub.Allow), g.SubscribeAll()) || !slices.Equal([]string(claims.Pub.Allow), g.PublishAll()) {
			t.Errorf("%s: the claims allow %q and %q", role, claims.Pub.Allow, claims.Sub.Allow)
		}
		if mute := len(g.PublishAll()) == 0; mute != slices.Contains(claims.Pub.Deny, ">") {
			t.Errorf("%s: publishing is denied: %t", role, !mute)
		}
	}
}
