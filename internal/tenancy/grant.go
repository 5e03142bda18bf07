package tenancy

import (
	"fmt"
	"slices"
	"strings"

	"credbus/subjects"
)

// Config says for whom a grant is.
type Config struct {
	Prefix subjects.Prefix // default subjects.DefaultPrefix
	Scope  subjects.Scope  // of roles that have one
	Roles  []Role          // at least one; their permissions add up
	// Inbox is the prefix of the user's replies, without the dot at its end. No other user may
	// listen there. Default "_INBOX", which only an account of its own makes safe.
	Inbox string
	// Names are needed for the role of a worker.
	Names Names
}

// String says what the roles may do.
func (c Config) String() string {
	roles := make([]string, len(c.Roles))
	for i, role := range c.Roles {
		roles[i] = string(role)
	}
	text := strings.Join(roles, ", ")
	if c.Scope != subjects.Root {
		text += fmt.Sprintf(" at %s and below", c.Scope)
	}
	return text
}

// Grant is the subjects that a user may publish and subscribe to. A list that is empty
// forbids everything.
type Grant struct {
	Services []string // requests to the workers
	Publish  []string // other subjects to publish to; of workers only
	Streams  []string // messages from the workers, such as events
	Inboxes  []string // where replies arrive
	Listen   []string // other subjects to listen to; of workers only
}

// New returns what the roles need, and nothing else.
func New(c Config) (*Grant, error) {
	if c.Prefix == "" {
		c.Prefix = subjects.DefaultPrefix
	}
	if c.Inbox == "" {
		c.Inbox = "_INBOX"
	}
	if len(c.Roles) == 0 {
		return nil, fmt.Errorf("no role is given")
	}
	for _, inbox := range append([]string{c.Inbox}, c.Names.Inboxes...) {
		if err := checkInbox(inbox, c.Prefix); err != nil {
			return nil, err
		}
	}
	g := new(Grant)
	for _, role := range c.Roles {
		switch {
		case role.HasScope() && c.Scope == subjects.Root:
			return nil, fmt.Errorf("the role of a %s is held at a scope: name one", role)
		case !role.HasScope() && c.Scope != subjects.Root:
			return nil, fmt.Errorf("the role of %s has no scope: leave it out", article(role))
		}
		g.add(c, role)
	}
	for _, list := range []*[]string{&g.Services, &g.Publish, &g.Streams, &g.Inboxes, &g.Listen} {
		*list = unique(*list)
	}
	return g, nil
}

// checkInbox refuses an inbox that would allow more than replies, such as "*".
func checkInbox(inbox string, prefix subjects.Prefix) error {
	if _, err := subjects.ParsePrefix(inbox); err != nil {
		return fmt.Errorf("inbox %q: it is one or more words of A-Z a-z 0-9 - _ joined by dots, such as _INBOX_acme", inbox)
	}
	if a, b := inbox+".", string(prefix)+"."; strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		return fmt.Errorf("inbox %q: the subjects of the workers begin with %s, so replies must not go there", inbox, prefix)
	}
	return nil
}

func article(role Role) string {
	if role == Operator || role == Admin {
		return "an " + string(role)
	}
	return "a " + string(role)
}

func (g *Grant) add(c Config, role Role) {
	if role == Worker {
		g.addWorker(c)
		return
	}
	below := func(subject string) []string { return []string{subject, subject + ".>"} }
	for _, command := range role.commands() {
		g.Services = append(g.Services, below(c.Prefix.Command(command, c.Scope))...)
	}
	if role.submits() {
		for _, command := range subjects.JobCommands {
			g.Services = append(g.Services, below(c.Prefix.Job(command, c.Scope, ""))...)
		}
		g.Streams = append(g.Streams, c.Prefix.JobStatuses(c.Scope))
	}
	if role.hears() {
		g.Streams = append(g.Streams, c.Prefix.Events(c.Scope))
	}
	if role == Operator {
		g.Services = append(g.Services, "$SRV.>")
		g.Streams = append(g.Streams, c.Prefix.StoreStatuses())
	}
	if len(g.Services) > 0 {
		g.Inboxes = append(g.Inboxes, c.Inbox+".>")
	}
}

// PublishAll is every subject that the user may publish to.
func (g *Grant) PublishAll() []string { return slices.Concat(g.Services, g.Publish) }

// SubscribeAll is every subject that the user may listen to.
func (g *Grant) SubscribeAll() []string { return slices.Concat(g.Inboxes, g.Streams, g.Listen) }

// unique keeps the first of equal subjects.
func unique(list []string) (kept []string) {
	for _, subject := range list {
		if !slices.Contains(kept, subject) {
			kept = append(kept, subject)
		}
	}
	return kept
}
