package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"credbus/client"
	"credbus/internal/cli"
	"credbus/internal/tenancy/users"
	"credbus/subjects"
)

// The exit statuses, as the documentation of the program lists them.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitPermission  = 5
	exitUnavailable = 6
	exitExpired     = 7
	exitMalformed   = 8
	exitRotationDue = 9
	exitInterrupted = 130
)

// errNoServer is wrapped by the error of a connection that no server answered.
var errNoServer = errors.New("no NATS server answers")

// errDenied is wrapped by the error of an action that NATS forbids this user.
var errDenied = errors.New("NATS refuses")

// errNameTaken is wrapped by the error of a submission whose name another one has.
var errNameTaken = errors.New("nothing was submitted")

// failures gives each kind of error its exit status and, if its text does not
// say what to do next, a hint. The first that matches counts.
var failures = []struct {
	err  error
	code int
	hint string
}{
	{context.Canceled, exitInterrupted, ""},
	{subjects.ErrInvalid, exitUsage, ""},
	{subjects.ErrTooLarge, exitUsage, ""},
	{client.ErrInvalidArgument, exitUsage, ""},
	{client.ErrPayloadTooLarge, exitUsage, ""},
	{client.ErrNotFound, exitNotFound, "credbus list shows the credentials that exist"},
	{users.ErrNotFound, exitNotFound, "credbus tenant list shows the names"},
	{users.ErrExists, exitConflict, "choose another --name, or remove that user with credbus tenant remove"},
	{users.ErrNoServer, exitUnavailable, howToStart("one") + " there, or name another directory with --data-dir"},
	{errNameTaken, exitConflict, "give another --submission, or none"},
	{client.ErrAlreadyExists, exitConflict, "leave out --create-only to change it"},
	{client.ErrVersionConflict, exitConflict, "credbus retrieve -o json shows its version now"},
	{client.ErrPermissionDenied, exitPermission, ""}, // to the worker
	{errDenied, exitPermission, "act as a user with that permission (--context, --creds or --user), at a scope of yours, and with the inbox of that user (--inbox-prefix)"},
	{errNoServer, exitUnavailable, howToStart("a worker") + ", or name a server with --server or --context"},
	{client.ErrNoWorkers, exitUnavailable, howToStart("one") + ", or name another server with --server or --context"},
	{client.ErrDisconnected, exitUnavailable, "try again"},
	{client.ErrResourceExhausted, exitUnavailable, ""}, // the text says when to try again, or what to do
	{client.ErrSessionExpired, exitUnavailable, "try again; if that does not help, the workers do not share their keys, or their clocks differ (credbus deployment)"},
	{client.ErrStorageUnavailable, exitUnavailable, "try again later; the worker's log says more"},
	{client.ErrStorageTimeout, exitUnavailable, "try again later; the worker's log says more"},
	{client.ErrStorageFull, exitUnavailable, ""}, // the text says what to do
	{context.DeadlineExceeded, exitUnavailable, "try again, with a longer --timeout"},
	{errMissingReplicas, exitUnavailable, "try again; the workers forget a replica some time after it is gone"},
	{errReplicasBehind, exitConflict, "copy the keyring file to the workers that have their own, and wait until credbus keys list shows it; the log of a worker that does not read it says why"},
	{errUnkept, exitOther, "nothing of it can be kept, so restore it, or give --replace"},
	{errOtherKeyring, exitConflict, "name the workers' keyring with --keyring, or run this where they have it"},
	{client.ErrInternal, exitOther, "the worker's log says why"},
	{client.ErrDecryptFailed, exitOther, "restore the key or the credential from a backup"},
}

func howToStart(what string) string {
	return fmt.Sprintf("start %s with %q", what, cli.Command("worker"))
}

// halfway is the error of a command that stopped after a part of its work.
type halfway struct {
	done string // and how to go on
	err  error
}

func (h halfway) Error() string { return h.done + ": " + h.err.Error() }

func (h halfway) Unwrap() error { return h.err }

// fail reports err on stderr and returns its exit status.
func (p *program) fail(ctx context.Context, err error) int {
	if ctx.Err() != nil || errors.Is(err, errInterrupted) {
		if unsure, ok := errors.AsType[*client.SubmitError](err); ok {
			p.say("%v (--submission)", unsure)
		}
		if half, ok := errors.AsType[halfway](err); ok {
			p.say("%s", half.done)
		}
		p.say("interrupted")
		return exitInterrupted
	}
	if verdict, ok := errors.AsType[verdict](err); ok {
		p.say("%s", verdict.text)
		return verdict.code
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		p.say("%v: see %s --help", usage.err, usage.command)
		return exitUsage
	}
	for _, failure := range failures {
		if !errors.Is(err, failure.err) {
			continue
		}
		hint := failure.hint
		if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); unknown {
			hint = "add --request-id to do so" // its text says to repeat it with one
		}
		if _, unsure := errors.AsType[*client.SubmitError](err); unsure {
			hint = "--submission does so" // its text says to submit it again
		}
		p.say("%s", joined(err.Error(), hint))
		return failure.code
	}
	p.say("%v", err)
	return exitOther
}

func joined(text, hint string) string {
	if hint == "" {
		return text
	}
	// Many texts end with the beginning of the hint.
	const again = "try again later"
	if rest, same := strings.CutPrefix(hint, again); same && strings.HasSuffix(text, again) {
		return text + rest
	}
	return text + ": " + hint
}

// say writes one line to stderr, whatever the text holds.
func (p *program) say(format string, args ...any) {
	if p.bar != nil {
		_ = p.bar.Clear() // else the line would follow the bar
	}
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	fmt.Fprintln(p.stderr, "credbus: "+printable(text))
}

// printable is text without characters that control a terminal or break a table.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// as gives err a kind that failures lists, and keeps its text.
func as(kind, err error) error { return kinded{err, kind} }

type kinded struct{ err, kind error }

func (k kinded) Error() string   { return k.err.Error() }
func (k kinded) Unwrap() []error { return []error{k.kind, k.err} }

// verdict ends a command that did its work, with an exit status for what it
// found.
type verdict struct {
	text string
	code int
}

func (v verdict) Error() string { return v.text }

// usageError is a mistake on the command line.
type usageError struct {
	err     error
	command string // the command whose help to read
}

func (e usageError) Error() string { return e.err.Error() }

// flagError leaves out the typed text: it may hold a value, as in "-vs3cret".
func flagError(_ *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown shorthand flag: -%s", unknown.GetSpecifiedName())
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("flag needs an argument: --%s", missing.GetFlag().Name)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		cause := invalid.Unwrap()
		if number, ok := errors.AsType[*strconv.NumError](cause); ok {
			cause = number.Err // its text quotes the typed value
		}
		return fmt.Errorf("flag --%s: %w", invalid.GetFlag().Name, cause)
	}
	return err
}

// refused reports whether a NATS server rejected the user.
func refused(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrNkeysNotSupported)
}

// unreachable reports whether err says that no NATS server was reached.
func unreachable(err error) bool {
	_, operation := errors.AsType[*net.OpError](err)
	_, name := errors.AsType[*net.DNSError](err)
	return operation || name || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoInfoReceived) ||
		errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)
}
