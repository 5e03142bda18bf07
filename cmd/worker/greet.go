package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"credbus/internal/audit"
	"credbus/internal/build"
	"credbus/internal/cli"
	"credbus/internal/config"
	"credbus/internal/worker"
	"credbus/subjects"
)

// greet says what the worker serves and what to try.
func greet(out io.Writer, c *config.Config, w *worker.Worker) {
	server := "joined"
	if c.NATS.Embedded() {
		server = "embedded"
	}
	state := "is ready"
	if refused := w.Refused(); len(refused) > 0 {
		state = fmt.Sprintf("has started, but NATS refuses subscriptions that it needs (%s and so on; the log has them all)", refused[0])
	}
	fmt.Fprintf(out, `credbus worker %s %s.

  server    %s (%s)
  commands  %s.<command>.<scope>, queue group %s
  events    %s.event.<scope>.<id>, stream %s
  store     %s
`, w.Name(), state, w.URL(), server, c.NATS.Prefix, c.NATS.Queue, c.NATS.Prefix, c.Stream.Name, place(c.Store))
	for _, route := range c.Store.Routes {
		fmt.Fprintf(out, "            %s in %s: %s\n", route.Scope, route.Store, place(c.AllStores()[route.Store]))
	}
	fmt.Fprintf(out, "  crypto    FIPS 140-3 mode %s\n", build.FIPS())
	if c.Audit.Level != string(audit.Off) {
		fmt.Fprintf(out, "  audit     %s in %s\n", c.Audit.Level, auditPlace(c.Audit))
	}
	if c.Health.Listen != "" {
		fmt.Fprintf(out, "  health    http://%s/readyz and /livez\n", c.Health.Listen)
	}
	if w.ClientContext() != "" {
		fmt.Fprintf(out, "  clients   %s\n", w.ClientContext())
	}
	before, credbus := clientCommand(c, w)
	fmt.Fprint(out, "\nTry, in another terminal:\n\n")
	if before != "" {
		fmt.Fprintf(out, "  %s\n", before)
	}
	fmt.Fprintf(out, `  echo -n s3cret | %[1]s store org:acme/team:eng db-password
  %[1]s retrieve org:acme/team:eng db-password
  %[1]s watch

`, credbus)
}

// place says where a store keeps credentials.
func place(s config.Store) string {
	switch s.Type {
	case "file":
		return "file " + s.Dir
	case "jetstream":
		return "jetstream bucket " + s.Bucket
	}
	return s.Type
}

// clientCommand is the call of the command line that finds this worker: a command to run
// before it, "" if none, and the command with its flags. Secrets are not printed, so the
// shell must ask for them.
func clientCommand(c *config.Config, w *worker.Worker) (before, command string) {
	words := []string{cli.Command("credbus")}
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, quoted(value))
		}
	}
	n := c.NATS
	switch {
	case n.Context != "" && n.URL == "":
		add("--context", n.Context)
	case !n.Embedded():
		add("--server", withoutUser(w.URL()))
	default:
		if usual, err := config.DefaultDataDir(); err != nil || usual != c.DataDir {
			add("--data-dir", c.DataDir)
		}
	}
	if !n.Embedded() {
		user, token, secret := n.User, n.Token != "", n.Password != ""
		first, _, _ := strings.Cut(n.URL, ",")
		if u, err := url.Parse(strings.TrimSpace(first)); err == nil && u.User != nil && user == "" {
			user = u.User.Username()
			_, secret = u.User.Password()
		}
		if user != "" && !secret { // then it is a token
			user, token = "", true
		}
		switch {
		case token:
			before = "read -rs NATS_TOKEN; export NATS_TOKEN    # asks for the token"
		case secret:
			before = "read -rs NATS_PASSWORD; export NATS_PASSWORD    # asks for the password of the user"
		}
		add("--user", user)
		add("--creds", n.Creds)
		add("--nkey", n.NKey)
		add("--tlsca", n.TLS.CA)
		add("--tlscert", n.TLS.Cert)
		add("--tlskey", n.TLS.Key)
	}
	if n.Prefix != subjects.DefaultPrefix {
		add("--prefix", string(n.Prefix))
	}
	if len(n.InboxPrefixes) > 0 && !slices.Contains(n.InboxPrefixes, "_INBOX") {
		add("--inbox-prefix", n.InboxPrefixes[0])
	}
	return before, strings.Join(words, " ")
}

// withoutUser is an address without its user: --user names it.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.User = nil
	return u.String()
}

// quoted is a word as a POSIX shell reads it.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// auditPlace says where the audit log is.
func auditPlace(c config.Audit) string {
	switch {
	case !c.ToStream():
		return c.File
	case !c.ToFile():
		return "stream " + c.Stream.Name
	}
	return c.File + " and stream " + c.Stream.Name
}
