package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check reports settings that contradict each other. Load makes the same checks,
// and also checks the values themselves.
func (c *Config) Check() error { return errors.Join(c.problems()...) }

const single = "%s is %d, but the embedded server is a single one: set it to 1, or nats.url to join a cluster"

func (c *Config) problems() (problems []error) {
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	if c.NATS.Embedded() {
		for _, key := range []string{"nats.creds", "nats.user", "nats.password", "nats.token", "nats.nkey", "nats.tls.ca", "nats.tls.cert", "nats.tls.key"} {
			// Variables of the nats command are for the servers that it connects to.
			if v := c.values[key]; v.given() && v.parsed != "" && !v.borrowed() {
				problem("%s is set, but there is no server to use it with: set nats.url or nats.context to join one, or remove it to run the embedded server", v.name(key))
			}
		}
		if c.Stream.Replicas > 1 {
			problem(single, c.name("stream.replicas"), c.Stream.Replicas)
		}
	} else {
		joins := "nats.url"
		if c.NATS.URL == "" {
			joins = "nats.context"
		}
		for _, key := range []string{"nats.host", "nats.port"} {
			// The default is allowed, since WriteYAML prints it.
			if v := c.values[key]; v.given() && fmt.Sprint(v.parsed) != settings.of(key).fallback {
				problem("%s is for the embedded server, which does not run because %s joins another: remove one of them", v.name(key), c.name(joins))
			}
		}
		if identities := c.identities(); len(identities) > 1 {
			problem("%s are given: a connection has one identity, so keep one of them", strings.Join(identities, " and "))
		}
		if c.NATS.Password != "" && c.NATS.User == "" {
			problem("%s is set without nats.user: set both", c.name("nats.password"))
		}
		if (c.NATS.TLS.Cert == "") != (c.NATS.TLS.Key == "") {
			problem("a client certificate needs both nats.tls.cert and nats.tls.key, and only one of them is set")
		}
	}
	problems = append(problems, c.storeProblems()...)
	if c.Security.RequireTLS {
		for _, e := range c.Exposures() {
			problems = append(problems, e.Refused())
		}
	}
	switch stale := c.Cache.StaleOnOutage; {
	case stale == 0:
	case !c.Cache.Enabled:
		problem("%s is set, but nothing is cached: set cache.enabled, or remove it", c.name("cache.stale_on_outage"))
	case stale <= c.Cache.TTL:
		problem("%s is %s, which is not longer than cache.ttl (%s), and until then the cache answers anyway: make it longer", c.name("cache.stale_on_outage"), formatDuration(stale), formatDuration(c.Cache.TTL))
	}
	if c.Jobs.Enabled && c.Jobs.AckWait >= c.Jobs.Keep {
		problem("%s is %s, which is not longer than jobs.ack_wait (%s), after which the jobs of a worker that stopped go to others: make it longer, or these jobs are forgotten first",
			c.name("jobs.keep"), formatDuration(c.Jobs.Keep), formatDuration(c.Jobs.AckWait))
	}
	switch {
	case c.Audit.Level == "off" && c.Audit.Required:
		problem("%s is set, but nothing is recorded: set audit.level to writes or all, or remove it", c.name("audit.required"))
	case c.Audit.Sync && !c.Audit.ToFile() && c.Audit.Level != "off":
		problem("%s is set, but records go into a stream, whose servers decide when they write to disk: set audit.sink to both, or remove it", c.name("audit.sync"))
	}
	for _, inbox := range c.NATS.InboxPrefixes {
		// A reply subject there could forge an event or a command.
		if prefix := string(c.NATS.Prefix); within(inbox, prefix) || within(prefix, inbox) {
			problem("%s has %q, which overlaps %s %q: replies must not reach the subjects of commands and events",
				c.name("nats.inbox_prefixes"), inbox, c.name("nats.prefix"), c.NATS.Prefix)
		}
	}
	return problems
}

// storeProblems are the problems of each store, and of the routes to them.
func (c *Config) storeProblems() (problems []error) {
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	all := c.AllStores()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s, key := all[name], StoreKey(name)
		if s.Type == "jetstream" {
			if c.NATS.Embedded() && s.Replicas > 1 {
				problem(single, c.name(key+".replicas"), s.Replicas)
			}
			if c.Stream.Name == "KV_"+s.Bucket {
				problem("%s is %s, which is the stream of the bucket %s: give one of them another name", c.name("stream.name"), c.Stream.Name, c.name(key+".bucket"))
			}
		}
		if days := c.values[key+".aws.recovery_days"]; s.AWS.ForceDelete && days.given() && s.AWS.RecoveryDays != 30 {
			problem("%s is %d, but with %s nothing can be recovered: remove one of them", days.name(key+".aws.recovery_days"), s.AWS.RecoveryDays, c.name(key+".aws.force_delete"))
		}
		if s.Native() && slices.Contains([]string{"file", "jetstream", "memory"}, s.Type) {
			problem("%s is native, but %s is %s, which has no form of its own: set it to sealed, or choose vault, aws or kubernetes", c.name(key+".form"), c.name(key+".type"), s.Type)
		}
	}
	for _, route := range c.Store.Routes {
		if _, ok := all[route.Store]; !ok {
			problem("%s has %s, but there is no store of that name: define stores.%s in the configuration file, or name one of %s",
				c.name(routesKey), route, route.Store, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
	}
	return problems
}

// identities names the settings that say who connects.
func (c *Config) identities() (names []string) {
	for _, identity := range []struct{ key, value string }{
		{"nats.user", c.NATS.User}, {"nats.creds", c.NATS.Creds}, {"nats.nkey", c.NATS.NKey}, {"nats.token", c.NATS.Token},
	} {
		if identity.value != "" {
			names = append(names, c.name(identity.key))
		}
	}
	return names
}

// within reports whether subject is prefix or lies below it.
func within(subject, prefix string) bool {
	return subject == prefix || strings.HasPrefix(subject, prefix+".")
}

// name is a setting as the user wrote it.
func (c *Config) name(key string) string { return c.values[key].name(key) }
