package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/subjects"
)

// statusOf is the HTTP status of an error that Vault answered, 0 of any other.
func statusOf(err error) int {
	if refused, ok := errors.AsType[*api.ResponseError](err); ok {
		return refused.StatusCode
	}
	return 0
}

// isVaults reports whether an error has the form that Vault's have.
func isVaults(err error) bool {
	refused, ok := errors.AsType[*api.ResponseError](err)
	return ok && !refused.RawError
}

// saidBy is what Vault says of an error. What is not in Vault's own form is not
// repeated: nobody knows what it quotes.
func saidBy(err error) string {
	if !isVaults(err) {
		return ""
	}
	refused, _ := errors.AsType[*api.ResponseError](err)
	const most = 300
	said := strings.Join(strings.Fields(strings.Join(refused.Errors, "; ")), " ")
	return said[:min(len(said), most)]
}

func isOvertaken(err error) bool {
	return statusOf(err) == http.StatusBadRequest && strings.Contains(saidBy(err), "check-and-set parameter did not match")
}

// isFull: what keeps Vault's data has no room, in the words of file systems, etcd and
// databases.
func isFull(status int, said string) bool {
	if status == http.StatusInsufficientStorage {
		return true
	}
	said = strings.ToLower(said)
	return status >= 500 && slices.ContainsFunc([]string{"no space left on device", "disk quota exceeded", "database space exceeded", "storage backend full", "disk full"},
		func(words string) bool { return strings.Contains(said, words) })
}

// limitedError is the answer to a request over a quota, with what its header says.
type limitedError struct {
	error
	after time.Duration
}

func (e *limitedError) Unwrap() error { return e.error }

// retryAfter is what a server asks for that limits requests, zero if it does not say.
func retryAfter(err error) time.Duration {
	if limited, ok := errors.AsType[*limitedError](err); ok {
		return limited.after
	}
	return 0
}

// parseRetryAfter reads the header Retry-After: seconds or a date.
func parseRetryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), 3600)) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now := time.Now()
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date // by the server's own clock
	}
	return max(at.Sub(now), 0)
}

// isNoMount: Vault has nothing that serves such a path.
func isNoMount(err error) bool {
	return statusOf(err) == http.StatusNotFound && strings.Contains(saidBy(err), "no handler for route")
}

// isForwardingOff: the server does not forward what asks for it by a header.
func isForwardingOff(err error) bool {
	return statusOf(err) == http.StatusBadRequest && strings.Contains(saidBy(err), "forwarding via header")
}

// States of a server by the status that it answers with.
var states = map[int]string{
	412:                           "it has not caught up with the active server yet",
	472:                           "it is a secondary for disaster recovery, which serves nothing",
	473:                           "it is a standby that does not serve this",
	http.StatusServiceUnavailable: "it is sealed or in maintenance: unseal it (vault operator unseal)",
}

// failed says what kind of failure err is, of a request that does needs (the
// capabilities of a policy) at path, and what to do.
func (s *Store) failed(ctx context.Context, needs, path string, err error) error {
	fail := func(kind error, text string) error {
		return fmt.Errorf("%w: Vault at %s (store.vault.address), %s: %s", kind, s.config.Address, path, text)
	}
	said := saidBy(err)
	switch status := statusOf(err); {
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.Is(err, store.ErrPermission), errors.Is(err, store.ErrUnavailable):
		return err // of a login
	case errors.Is(err, errGarbage):
		return fail(store.ErrUnavailable, err.Error())
	case status == 0:
		return fail(store.ErrUnavailable, "is it reachable? "+reason(err))
	case status == http.StatusForbidden:
		return fail(store.ErrPermission, fmt.Sprintf("permission denied: the policy of the token must allow %s on %s", needs, s.policyPath(path)))
	case isNoMount(err):
		return fail(store.ErrUnavailable, fmt.Sprintf("the mount is gone: vault secrets enable -path=%s -version=2 kv (store.vault.mount), and restore what it held", s.config.Mount))
	case status == http.StatusRequestEntityTooLarge:
		return fail(store.Unfit(subjects.ErrTooLarge), "it takes no more: "+said)
	case status == http.StatusTooManyRequests:
		return store.Throttled(fail(store.ErrThrottled, "a quota limits requests (vault list sys/quotas/rate-limit), or it is a standby that does not forward them: "+said), retryAfter(err))
	case needs != "read" && needs != "list" && isFull(status, said):
		return fail(store.ErrFull, fmt.Sprintf("its storage is full: make room there (status %d) %s", status, said))
	case states[status] != "":
		return fail(store.ErrUnavailable, fmt.Sprintf("%s (status %d) %s", states[status], status, said))
	case status == http.StatusBadRequest && strings.Contains(said, "unavailable for a brief period"):
		return fail(store.ErrUnavailable, "the mount was enabled a moment ago: "+said)
	case status >= 500:
		return fail(store.ErrUnavailable, fmt.Sprintf("status %d %s: look at its log", status, said))
	default:
		return fmt.Errorf("from Vault at %s (store.vault.address), %s: status %d %s", s.config.Address, path, status, said)
	}
}

// policyPath is the line of a policy that covers path, which is below
// Config.Path of one part of the engine.
func (s *Store) policyPath(path string) string {
	for _, part := range []string{"data", "metadata", "destroy"} {
		if at := s.pathOf(part, ""); strings.HasPrefix(path, at) {
			return at + "*"
		}
	}
	return path
}

// ended is the error of a call whose context has ended.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause == errOverdue || cause == store.ErrClosed {
		return cause
	}
	return ctx.Err()
}

// reason is a failure of the network without the request's URL, which stands
// before it anyway.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
