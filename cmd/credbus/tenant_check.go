package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

// tryTimeout bounds one attempt.
const tryTimeout = 10 * time.Second

// replyTimeout bounds the wait for the reply of a worker.
const replyTimeout = 5 * time.Second

func (p *program) tenantCheckCommand() *cobra.Command {
	t := &tenant{p: p, profile: profileUsers, workers: workersAccount}
	cmd := &cobra.Command{
		Use:   "check [SCOPE] ROLE...",
		Short: "Compare what given credentials may do with a role",
		Long: `Compare what given credentials may do with a role. It connects with them, and tries
the subjects of all commands, jobs, events and statuses at the scope, above, below and
beside it, and those of workers, streams, buckets and other tenants. It prints what
NATS allows beyond the role, and what it refuses though the role needs it. The exit
status is 1 if there is any.

No attempt changes a credential, a stream or a bucket: requests cannot be decoded, and
no stream or bucket has the names that are tried. So the command does not find a
permission for one stream or bucket that exists, or for the scope or inbox of one other
tenant. Workers record the requests in their audit log. Jobs that reach them fail, and
credbus jobs dead lists them as credbus-tenant-check.

If a worker runs, the command also checks that its reply comes to the user's inbox: give
that by --inbox-prefix, or by a --context.

With --profile accounts, a tenant may do anything in its own account. Then the command
sends requests, and looks whether they reach a worker. Events and statuses that an
account imports cannot be tried in this way. Without --profile accounts, a tenant with
an account of its own seems to have more than its role.

-o json prints one line for each attempt.`,
		Example: `  credbus tenant check org:acme reader --creds acme.creds --inbox-prefix _INBOX_acme`,
		Args:    t.parse,
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.Flags().StringVar(&t.profile, "profile", profileUsers, "users or accounts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.begun = true
		return t.check(cmd.Context(), format)
	}
	return cmd
}

func (t *tenant) check(ctx context.Context, format *format) error {
	conn, err := t.p.connection.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // LastError has them
	attempts, wrong := 0, 0
	try := try
	if t.profile == profileAccounts {
		try = request
	}
	for _, probe := range t.grant.Probes(t.config) {
		if t.profile == profileAccounts && !isRequest(t.config, probe) {
			continue
		}
		may, err := try(ctx, conn, probe)
		if err != nil {
			return err
		}
		if attempts++; may != probe.Allowed {
			wrong++
		}
		if err := printAttempt(t.p.stdout, format, probe, may); err != nil {
			return err
		}
	}
	if t.profile == profileUsers {
		inbox := tenancy.Probe{Subject: conn.NewInbox(), Listen: true, Allowed: true}
		problem, err := t.tryReply(ctx, conn, inbox)
		if err != nil {
			return err
		}
		if attempts++; problem != "" {
			wrong++
			if err := printAttempt(t.p.stdout, format, inbox, false); err != nil {
				return err
			}
			t.p.say("%s", problem)
		}
	}
	if wrong > 0 {
		return verdict{fmt.Sprintf("%d of %s differ from the role %s: credbus tenant prints its permissions", wrong, count(attempts, "attempt"), t.config), exitOther}
	}
	t.p.say("%s: as the role needs, and nothing else of what was tried", count(attempts, "attempt"))
	return nil
}

// try reports whether the server allows an attempt. It reports a refusal before it answers
// the flush.
func try(ctx context.Context, conn *nats.Conn, probe tenancy.Probe) (may bool, err error) {
	before := conn.LastError()
	if probe.Listen {
		sub, err := conn.SubscribeSync(probe.Subject)
		if err != nil {
			return false, err
		}
		defer sub.Unsubscribe() //nolint:errcheck // a refused one is gone
	} else if err := conn.Publish(probe.Subject, tenancy.Garbage); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		return false, as(errNoServer, err)
	}
	after := conn.LastError()
	return after == before || !errors.Is(after, nats.ErrPermissionViolation), nil //nolint:errorlint // the same report, not one like it
}

// tryReply sends a request that the role allows, and returns what is wrong with its reply.
// Without an inbox of its own, a tenant gets no reply, although its permissions are right.
func (t *tenant) tryReply(ctx context.Context, conn *nats.Conn, inbox tenancy.Probe) (problem string, err error) {
	subject := t.config.Prefix.Command(subjects.SealKey, t.config.Scope)
	if !t.grant.MayPublish(subject) || t.config.Roles[0] == tenancy.Worker {
		return "", nil
	}
	if may, err := try(ctx, conn, inbox); err != nil || !may {
		return "replies go to an inbox of the user: give its prefix (--inbox-prefix), or a --context that has it", err
	}
	before := conn.LastError()
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	_, err = conn.RequestWithContext(ctx, subject, tenancy.Garbage)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, nats.ErrNoResponders):
		t.p.say("no worker answers, so whether replies come was not tried")
		return "", nil
	case errors.Is(err, context.DeadlineExceeded) && conn.LastError() == before:
		return "a worker does not reply to that inbox: its setting nats.inbox_prefixes must have the prefix", nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", nil // it may not send it, which is listed already
	}
	return "", as(errNoServer, err)
}

// isRequest reports whether a probe is a request to the workers.
func isRequest(c tenancy.Config, probe tenancy.Probe) bool {
	return !probe.Listen && strings.HasPrefix(probe.Subject, string(c.Prefix)+".") && !slices.ContainsFunc(
		[]string{"event.", "job_status.", "store_status.", "coherence."},
		func(word string) bool { return strings.HasPrefix(probe.Subject, string(c.Prefix)+"."+word) })
}

// request reports whether an attempt reaches a worker, which refuses it.
func request(ctx context.Context, conn *nats.Conn, probe tenancy.Probe) (may bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	switch _, err := conn.RequestWithContext(ctx, probe.Subject, tenancy.Garbage); {
	case err == nil:
		return true, nil
	case errors.Is(err, nats.ErrNoResponders):
		return false, nil
	default:
		return false, as(errNoServer, err)
	}
}

func printAttempt(out io.Writer, format *format, probe tenancy.Probe, may bool) error {
	if format.chosen == asJSON {
		line, err := lineOf(struct {
			tenancy.Probe
			May bool `json:"may"`
		}{probe, may})
		return errors.Join(err, writeLine(out, line))
	}
	what := "publish to "
	if probe.Listen {
		what = "listen to "
	}
	var err error
	switch {
	case may && !probe.Allowed:
		_, err = fmt.Fprintf(out, "may, beyond the role: %s%s\n", what, probe.Subject)
	case !may && probe.Allowed:
		_, err = fmt.Fprintf(out, "may not, but the role needs it: %s%s\n", what, probe.Subject)
	}
	return err
}
