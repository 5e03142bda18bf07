package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/config"
	"credbus/internal/tenancy"
	"credbus/internal/tenancy/users"
	"credbus/subjects"
)

// tenants are the users of the matrix: every role at a scope, and the admin of others.
var tenants = []struct {
	name  string
	scope subjects.Scope
	roles []tenancy.Role
}{
	{"reader", "org:acme/team:eng", []tenancy.Role{tenancy.Reader}},
	{"writer", "org:acme/team:eng", []tenancy.Role{tenancy.Writer}},
	{"submitter", "org:acme/team:eng", []tenancy.Role{tenancy.Submitter}},
	{"subscriber", "org:acme/team:eng", []tenancy.Role{tenancy.Subscriber}},
	{"both", "org:acme/team:eng", []tenancy.Role{tenancy.Reader, tenancy.Subscriber}},
	{"admin", "org:acme/team:eng", []tenancy.Role{tenancy.Admin}},
	{"above", "org:acme", []tenancy.Role{tenancy.Admin}},
	{"alike", "org:acmex", []tenancy.Role{tenancy.Admin}},
	{"shorter", "org:acm", []tenancy.Role{tenancy.Admin}},
	{"foreign", "org:other", []tenancy.Role{tenancy.Admin}},
}

// attempts counts what the matrix tries.
type attempts struct {
	all, allowedWrongly, deniedWrongly int
	report                             func(format string, args ...any) // of what is wrong
}

func (a *attempts) judge(who string, probe tenancy.Probe, may bool) {
	a.all++
	switch {
	case may && !probe.Allowed:
		a.allowedWrongly++
		a.report("%s may, and must not: %+v", who, probe)
	case !may && probe.Allowed:
		a.deniedWrongly++
		a.report("%s may not, and must: %+v", who, probe)
	}
}

func (a *attempts) print(profile string) {
	fmt.Printf("tenancy: profile=%s attempts=%d allowed_wrongly=%d denied_wrongly=%d\n", profile, a.all, a.allowedWrongly, a.deniedWrongly)
}

// everybodysProbes are tried by each tenant, so that each scope is own, parent, child,
// sibling, look-alike and foreign to somebody. inboxes is the beginning of a tenant's inbox,
// before its name.
func everybodysProbes(g *tenancy.Grant, inboxes string) (probes []tenancy.Probe) {
	seen := make(map[string]bool)
	add := func(probe tenancy.Probe) {
		if key := fmt.Sprint(probe.Subject, probe.Listen); !seen[key] {
			seen[key] = true
			probes = append(probes, probe)
		}
	}
	for _, tenant := range tenants {
		for _, probe := range g.Probes(tenancy.Config{Scope: tenant.scope}) {
			add(probe)
		}
		inbox := inboxes + tenant.name
		add(tenancy.Probe{Subject: inbox + ".x"})
		add(tenancy.Probe{Subject: inbox + ".>", Listen: true, Allowed: g.MayListen(inbox + ".>")})
		// Entries of the stream: the events as they are kept for a replay.
		add(tenancy.Probe{Subject: "$JS.API.CONSUMER.CREATE.CREDBUS.x." + subjects.DefaultPrefix.EventEntries(tenant.scope)})
		add(tenancy.Probe{Subject: "$JS.API.DIRECT.GET.CREDBUS_JOBS_STATUS." + subjects.DefaultPrefix.JobStatus(tenant.scope, "x")})
	}
	for _, stream := range []string{"CREDBUS", "CREDBUS_DEPLOYMENT", "CREDBUS_EXPIRY", "CREDBUS_ONCE", "CREDBUS_AUDIT", "CREDBUS_JOBS", "CREDBUS_JOBS_STATUS", "CREDBUS_JOBS_DEAD", "KV_CREDBUS_JOBS_KEYS", "KV_CREDBUS_CREDENTIALS"} {
		for _, call := range []string{"STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET", "STREAM.MSG.DELETE",
			"STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.PEER.REMOVE", "STREAM.LEADER.STEPDOWN", "DIRECT.GET",
			"CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST"} {
			add(tenancy.Probe{Subject: "$JS.API." + call + "." + stream})
		}
		for _, call := range []string{"CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.INFO", "CONSUMER.DELETE", "CONSUMER.PAUSE", "CONSUMER.MSG.NEXT", "CONSUMER.LEADER.STEPDOWN"} {
			add(tenancy.Probe{Subject: "$JS.API." + call + "." + stream + ".x"})
		}
		add(tenancy.Probe{Subject: "$JS.ACK." + stream + ".x.1.1.1.1.0"})
		add(tenancy.Probe{Subject: "$JS.FC." + stream + ".x.1"})
	}
	for _, subject := range []string{"$KV.CREDBUS_CREDENTIALS.x", "$KV.CREDBUS_JOBS_KEYS.x", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.x", "_R_.x",
		subjects.DefaultPrefix.Coherence("x"), subjects.DefaultPrefix.Coherence("once.x"), subjects.DefaultPrefix.Inbox() + ".x.y"} {
		add(tenancy.Probe{Subject: subject})
	}
	for _, verb := range []string{"PING", "INFO", "STATS", "PING.credbus", "INFO.credbus", "STATS.credbus.x"} {
		add(tenancy.Probe{Subject: "$SRV." + verb, Allowed: g.MayPublish("$SRV." + verb)})
		add(tenancy.Probe{Subject: "$SRV." + verb, Listen: true})
	}
	return probes
}

func serverWith(t *testing.T, text string) (url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return serverOf(t, file, nil)
}

func connectAs(t *testing.T, url, user string, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append(options, nats.UserInfo(user, "pw"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// usersProfile is a server with every tenant, an operator and the workers in one account.
func usersProfile(t *testing.T) (url string, grants map[string]*tenancy.Grant) {
	t.Helper()
	var conf, users strings.Builder
	grants = make(map[string]*tenancy.Grant)
	add := func(name string, c tenancy.Config) {
		grant, err := tenancy.New(c)
		if err != nil {
			t.Fatal(err)
		}
		grants[name] = grant
		conf.WriteString(grant.Permissions("credbus_" + name))
		fmt.Fprintf(&users, "{user: %s, password: pw, permissions: $credbus_%[1]s}\n", name)
	}
	inboxes := []string{"_INBOX_operator"}
	for _, tenant := range tenants {
		add(tenant.name, tenancy.Config{Scope: tenant.scope, Roles: tenant.roles, Inbox: "_INBOX_" + tenant.name})
		inboxes = append(inboxes, "_INBOX_"+tenant.name)
	}
	add("operator", tenancy.Config{Roles: []tenancy.Role{tenancy.Operator}, Inbox: "_INBOX_operator"})
	add("worker", tenancy.Config{Roles: []tenancy.Role{tenancy.Worker}, Names: tenancy.Names{Inboxes: inboxes}})
	fmt.Fprintf(&conf, "authorization: { users: [\n%s] }\n", users.String())
	return serverWith(t, conf.String()), grants
}

// TestMatrixOfUsers: under the profile of users, a server allows exactly what each role needs.
func TestMatrixOfUsers(t *testing.T) {
	url, grants := usersProfile(t)
	tried := attempts{report: t.Errorf}
	for name, grant := range grants {
		if name != "worker" { // TestWorkerFile holds that role to a file that works
			tried.tryUser(t, connectAs(t, url, name, nats.CustomInboxPrefix("_INBOX_"+name)), name, everybodysProbes(grant, "_INBOX_"))
		}
	}
	tried.print("users")
}

func (a *attempts) tryUser(t *testing.T, as *nats.Conn, name string, probes []tenancy.Probe) {
	t.Helper()
	for _, probe := range probes {
		a.judge(name, probe, may(t, as, func() error {
			if !probe.Listen {
				return as.Publish(probe.Subject, tenancy.Garbage)
			}
			sub, err := as.SubscribeSync(probe.Subject)
			if err != nil {
				return err
			}
			return sub.Unsubscribe()
		}))
	}
}

// TestMatrixOfEmbedded: the same under a server that a worker runs, with the tenants that
// credbus tenant add makes.
func TestMatrixOfEmbedded(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir)
	contexts := make(map[string]string)
	for _, tenant := range tenants {
		path, err := users.Add(t.Context(), dir, users.Tenant{Name: tenant.name, Scope: tenant.scope, Roles: tenant.roles})
		if err != nil {
			t.Fatal(err)
		}
		contexts[tenant.name] = path
	}
	waitFor(t, "the server has taken up the tenants", func() bool { return strings.Contains(b.logs.String(), fmt.Sprintf("tenants=%d", len(tenants))) })
	tried := attempts{report: t.Errorf}
	for _, tenant := range tenants {
		grant, err := tenancy.New(tenancy.Config{Scope: tenant.scope, Roles: tenant.roles, Inbox: "_INBOX." + tenant.name})
		if err != nil {
			t.Fatal(err)
		}
		tried.tryUser(t, connect(t, contexts[tenant.name], nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), tenant.name, everybodysProbes(grant, "_INBOX."))
	}
	tried.print("embedded")
}

// TestMatrixFindsHoles: the matrix sees a permission too many and one too few.
func TestMatrixFindsHoles(t *testing.T) {
	grant, err := tenancy.New(tenancy.Config{Scope: "org:acme/team:eng", Roles: []tenancy.Role{tenancy.Reader}, Inbox: "_INBOX_reader"})
	if err != nil {
		t.Fatal(err)
	}
	for name, hole := range map[string]struct {
		before, after   string
		allowed, denied bool
	}{
		"every command":       {"cred.v1.retrieve.org:acme.team:eng.>", "cred.v1.*.org:acme.team:eng.>", true, false},
		"every tenant's":      {"_INBOX_reader.>", "*.>", true, false},
		"the scope above":     {"cred.v1.retrieve.org:acme.team:eng", "cred.v1.retrieve.org:acme", true, true},
		"a command forgotten": {"cred.v1.list.org:acme.team:eng.>", "cred.v1.list.org:acme.team:eng.x", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(grant.Permissions("credbus_reader"), strconv.Quote(hole.before), strconv.Quote(hole.after), 1)
			url := serverWith(t, text+"authorization: { users: [{user: reader, password: pw, permissions: $credbus_reader}] }\n")
			tried := attempts{report: func(string, ...any) {}}
			tried.tryUser(t, connectAs(t, url, "reader", nats.CustomInboxPrefix("_INBOX_reader")), "reader", everybodysProbes(grant, "_INBOX_"))
			if tried.allowedWrongly > 0 != hole.allowed || tried.deniedWrongly > 0 != hole.denied {
				t.Errorf("found %d too many and %d too few", tried.allowedWrongly, tried.deniedWrongly)
			}
		})
	}
}

// accountsProfile is a server with an account for each tenant and one for the workers, whose
// users may do anything in it.
func accountsProfile(t *testing.T) (url string, grants map[string]*tenancy.Grant) {
	t.Helper()
	var exports, accounts strings.Builder
	grants = make(map[string]*tenancy.Grant)
	for _, tenant := range tenants {
		grant, err := tenancy.New(tenancy.Config{Scope: tenant.scope, Roles: tenant.roles})
		if err != nil {
			t.Fatal(err)
		}
		grants[tenant.name] = grant
		exports.WriteString(grant.Exports("T_" + tenant.name))
		fmt.Fprintf(&accounts, "T_%s: { imports: [\n%s]\nusers: [{user: %[1]s, password: pw}] }\n", tenant.name, grant.Imports("CREDBUS"))
	}
	return serverWith(t, fmt.Sprintf("accounts: {\nCREDBUS: { jetstream: enabled, exports: [\n%s]\nusers: [{user: worker, password: pw}] }\n%s}\n",
		mergeExports(exports.String()), accounts.String())), grants
}

// mergeExports joins the exports of one subject to several accounts: a server takes only one
// of each.
func mergeExports(text string) string {
	var order []string
	accounts := make(map[string][]string)
	for line := range strings.Lines(text) {
		subject, rest, _ := strings.Cut(strings.TrimSpace(line), ", accounts: [")
		if accounts[subject] == nil {
			order = append(order, subject)
		}
		accounts[subject] = append(accounts[subject], strings.TrimSuffix(rest, "] }"))
	}
	var merged strings.Builder
	for _, subject := range order {
		fmt.Fprintf(&merged, "%s, accounts: [%s] }\n", subject, strings.Join(accounts[subject], ", "))
	}
	return merged.String()
}

// TestMatrixOfAccounts: with an account for each tenant, exactly what a role needs reaches
// the workers' account, and exactly that comes from there. The tenant may do anything in its
// own account.
func TestMatrixOfAccounts(t *testing.T) {
	url, grants := accountsProfile(t)
	workers := connectAs(t, url, "worker")
	heard := make(map[string]bool) // by content
	inbound, err := workers.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := inbound.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := workers.Flush(); err != nil {
		t.Fatal(err)
	}
	tried := attempts{report: t.Errorf}
	sent := make(map[string]tenancy.Probe)
	for name, grant := range grants {
		as := connectAs(t, url, name)
		var listens []tenancy.Probe
		subs := make(map[string]*nats.Subscription)
		for i, probe := range everybodysProbes(grant, "_INBOX_") {
			if strings.HasPrefix(probe.Subject, "_INBOX") || strings.HasPrefix(probe.Subject, "$") {
				probe.Allowed = false // its own, which are not the workers'
			}
			if !probe.Listen {
				content := fmt.Sprint(name, " ", i)
				sent[content] = probe
				if err := as.Publish(probe.Subject, []byte(content)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			sub, err := as.SubscribeSync(probe.Subject)
			if err != nil {
				t.Fatal(err)
			}
			listens, subs[probe.Subject] = append(listens, probe), sub
		}
		if err := as.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, probe := range listens {
			// What the workers publish below that pattern.
			subject := strings.NewReplacer(">", "from-workers", "*", "from-workers").Replace(probe.Subject)
			if probe.Subject == ">" {
				subject = "from-workers"
			}
			if err := workers.Publish(subject, []byte("from the workers: "+probe.Subject)); err != nil {
				t.Fatal(err)
			}
		}
		if err := workers.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := as.Flush(); err != nil { // what the server had for it has arrived
			t.Fatal(err)
		}
		for _, probe := range listens {
			came := false
			for msg, err := subs[probe.Subject].NextMsg(time.Millisecond); err == nil; msg, err = subs[probe.Subject].NextMsg(time.Millisecond) {
				came = came || string(msg.Data) == "from the workers: "+probe.Subject
			}
			tried.judge(name, probe, came)
		}
	}
	if err := workers.Flush(); err != nil {
		t.Fatal(err)
	}
	for msg, err := inbound.NextMsg(time.Second); err == nil; msg, err = inbound.NextMsg(100 * time.Millisecond) {
		heard[string(msg.Data)] = true
	}
	for content, probe := range sent {
		tried.judge(strings.Fields(content)[0], probe, heard[content])
	}
	tried.print("accounts")
}

// TestTenantsWork: under both profiles, tenants can do their work, and not that of others.
func TestTenantsWork(t *testing.T) {
	for profile, start := range map[string]func(*testing.T) (string, map[string]*tenancy.Grant){"users": usersProfile, "accounts": accountsProfile} {
		t.Run(profile, func(t *testing.T) {
			url, _ := start(t)
			inboxes, inbox := []string{"_INBOX"}, func(string) string { return "_INBOX" }
			if profile == "users" {
				inboxes = []string{"_INBOX_operator"}
				for _, tenant := range tenants {
					inboxes = append(inboxes, "_INBOX_"+tenant.name)
				}
				inbox = func(name string) string { return "_INBOX_" + name }
			}
			c, err := config.Load(nil, []string{onBucket, "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_URL=" + url,
				"CREDBUS_NATS_INBOX_PREFIXES=" + strings.Join(inboxes, ","), "NATS_USER=worker", "NATS_PASSWORD=pw"})
			if err != nil {
				t.Fatal(err)
			}
			w := runBed(t, c)
			as := func(name string) *bed {
				return &bed{Worker: w.Worker, client: connectAs(t, url, name, nats.CustomInboxPrefix(inbox(name)))}
			}
			const scope = subjects.Scope("org:acme/team:eng")
			writer, reader, submitter, both := as("writer"), as("reader"), as("submitter"), as("both")
			events, err := both.client.SubscribeSync(subjects.DefaultPrefix.Events(scope))
			if err != nil {
				t.Fatal(err)
			}
			if err := both.client.Flush(); err != nil {
				t.Fatal(err)
			}
			writer.put(t, scope, "db", "v")
			for _, b := range []*bed{reader, both} {
				if value, told := b.get(t, scope, "db"); told != nil || value != "v" {
					t.Errorf("a reader gets %q, %v", value, told)
				}
			}
			if _, err := events.NextMsg(requestTimeout); err != nil {
				t.Errorf("the subscriber hears nothing: %v", err)
			}
			submitter.submit(t, scope, subjects.Job{ID: "j"}, item("db", "by a job"))
			if done := submitter.awaitJob(t, scope, "j"); done.Succeeded != 1 {
				t.Errorf("the job is %s: %s", done.State, done.Reason)
			}
			foreign := as("foreign")
			request := subjects.Append(nil, &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: "db"}}})
			if msg, err := foreign.client.Request(subjects.DefaultPrefix.Command(subjects.Retrieve, scope), request, time.Second); err == nil {
				t.Errorf("another tenant gets %q", msg.Data)
			}
		})
	}
}

// TestDeployedProfiles runs a server on each file of deploy/nats, as it is.
func TestDeployedProfiles(t *testing.T) {
	for file, inboxes := range map[string]string{"users.conf": "_INBOX_acme,_INBOX_acme_api,_INBOX_operator", "accounts.conf": "_INBOX"} {
		t.Run(file, func(t *testing.T) {
			url := serverOf(t, filepath.Join("../../deploy/nats", file), nil)
			c, err := config.Load(nil, []string{onBucket, "CREDBUS_DATA_DIR=" + t.TempDir(), "CREDBUS_NATS_URL=" + url,
				"CREDBUS_NATS_INBOX_PREFIXES=" + inboxes, "NATS_USER=worker", "NATS_PASSWORD=change-me-worker"})
			if err != nil {
				t.Fatal(err)
			}
			w := runBed(t, c)
			as := func(user string) *bed {
				options := []nats.Option{nats.UserInfo(user, "change-me-"+user)}
				if file == "users.conf" {
					options = append(options, nats.CustomInboxPrefix("_INBOX_"+user))
				}
				nc, err := nats.Connect(url, options...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(nc.Close)
				return &bed{Worker: w.Worker, client: nc}
			}
			const scope = subjects.Scope("org:acme/team:eng/service:api")
			as("acme").put(t, scope, "db", "v")
			if value, told := as("acme_api").get(t, scope, "db"); told != nil || value != "v" {
				t.Errorf("the reader gets %q, %v", value, told)
			}
			as("operator").must(t, subjects.Keys, subjects.Root, new(subjects.KeysRequest), new(subjects.KeysReply))
		})
	}
}
