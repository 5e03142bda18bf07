package tenancy

import (
	"slices"

	"github.com/nats-io/jwt/v2"

	"credbus/subjects"
)

// Probe is one thing that a user tries: to publish to a subject, or to listen to it.
type Probe struct {
	Subject string `json:"subject"`
	Listen  bool   `json:"listen,omitempty"`
	// Allowed is whether the grant allows it.
	Allowed bool `json:"allowed"`
}

// Garbage is what a probe publishes: no decoder takes it, so that no worker does anything.
var Garbage = []byte{0xc1}

// Probes are attempts with an expected outcome. They cover all commands, jobs, events and
// statuses at the scope itself, above, below and beside it, and what belongs to workers,
// servers and other tenants. None changes anything, even if the server lets it pass: requests
// hold Garbage, and the names of streams and buckets that they could change do not exist.
func (g *Grant) Probes(c Config) []Probe {
	if c.Prefix == "" {
		c.Prefix = subjects.DefaultPrefix
	}
	var probes []Probe
	publish := func(subject string) {
		probes = append(probes, Probe{subject, false, g.MayPublish(subject)})
	}
	listen := func(subject string) {
		probes = append(probes, Probe{subject, true, g.MayListen(subject)})
	}
	for _, scope := range around(c.Scope) {
		for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
			publish(c.Prefix.Command(command, scope))
		}
		for _, command := range subjects.JobCommands {
			publish(c.Prefix.Job(command, scope, "credbus-tenant-check"))
		}
		listen(c.Prefix.Command(subjects.Store, scope))
		listen(c.Prefix.Events(scope))
		listen(c.Prefix.JobStatuses(scope))
		listen(c.Prefix.EventEntries(scope))
	}
	const other = "CREDBUS_TENANT_CHECK" // no stream and no bucket has this name
	for _, subject := range []string{
		c.Prefix.Event("credbus:tenant-check", "x"), c.Prefix.JobStatus("credbus:tenant-check", "x"), c.Prefix.StoreStatus("credbus-tenant-check"),
		c.Prefix.Coherence("tenant-check"), c.Prefix.Inbox() + ".x", "$SRV.PING",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.DELETE." + other, "$JS.API.STREAM.PURGE." + other, "$JS.API.STREAM.MSG.GET." + other,
		"$JS.API.DIRECT.GET." + other, "$JS.API.CONSUMER.CREATE." + other, "$JS.API.CONSUMER.MSG.NEXT." + other + ".x", "$KV." + other + ".x", "_INBOX_credbus_tenant_check.x",
	} {
		publish(subject)
	}
	for _, subject := range []string{
		">", string(c.Prefix) + ".>", c.Prefix.Coherence(">"), c.Prefix.Inbox() + ".>", c.Prefix.StoreStatuses(),
		"$JS.>", "$KV.>", "$SYS.>", "_INBOX_credbus_tenant_check.>", "_INBOX.>", "_R_.>",
	} {
		listen(subject)
	}
	return probes
}

// around are the scopes that a probe of one tries: itself, below, above, beside, alike and
// another one.
func around(scope subjects.Scope) []subjects.Scope {
	if scope == subjects.Root {
		return []subjects.Scope{subjects.Root, "credbus:tenant-check"}
	}
	scopes := []subjects.Scope{scope, scope + "/credbus:tenant-check", scope + "x", scope[:len(scope)-1], subjects.Root, "credbus:tenant-check"}
	if parent := scope.Parent(); parent != subjects.Root {
		scopes = append(scopes, parent, parent+"/credbus:tenant-check")
	}
	return slices.DeleteFunc(scopes, func(s subjects.Scope) bool {
		_, err := subjects.ParseScope(string(s))
		return err != nil && s != subjects.Root
	})
}

// MayPublish reports whether the grant allows to publish to a subject.
func (g *Grant) MayPublish(subject string) bool { return matchesAny(g.PublishAll(), subject) }

// MayListen reports whether the grant allows to listen to a subject, which may have wildcards.
func (g *Grant) MayListen(subject string) bool { return matchesAny(g.SubscribeAll(), subject) }

// matchesAny reports whether one of the patterns covers all that subject matches.
func matchesAny(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return jwt.Subject(subject).IsContainedIn(jwt.Subject(pattern))
	})
}
