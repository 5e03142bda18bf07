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

// statusOf returns the HTTP status of an error from Vault, or 0 for any other
// error.
func statusOf(err error) int {
	if refused, ok := errors.AsType[*api.ResponseError](err); ok {
		return refused.StatusCode
	}
	return 0
}

// isVaults reports whether an error has the form of Vault's errors.
func isVaults(err error) bool {
	refused, ok := errors.AsType[*api.ResponseError](err)
	return ok && !refused.RawError
}

// saidBy returns the text of an error of Vault. It does not repeat a text in
// any other form, which may quote anything.
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

// isFull reports whether Vault's storage is full, by the texts of file systems,
// etcd and databases.
func isFull(status int, said string) bool {
	if status == http.StatusInsufficientStorage {
		return true
	}
	said = strings.ToLower(said)
	return status >= 500 && slices.ContainsFunc([]string{"no space left on device", "disk quota exceeded", "database space exceeded", "storage backend full", "disk full"},
		func(words string) bool { return strings.Contains(said, words) })
}

// limitedError is the answer to a request over a quota, with the pause of its
// header.
type limitedError struct {
	error
	after time.Duration
}

func (e *limitedError) Unwrap() error { return e.error }

// retryAfter returns the pause that a limiting server demands, or zero.
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
		now = date // the server's clock
	}
	return max(at.Sub(now), 0)
}

// isNoMount reports whether Vault has no mount for the path.
func isNoMount(err error) bool {
	return statusOf(err) == http.StatusNotFound && strings.Contains(saidBy(err), "no handler for route")
}

// isForwardingOff reports whether the server refuses to forward requests that
// ask for it by a header.
func isForwardingOff(err error) bool {
	return statusOf(err) == http.StatusBadRequest && strings.Contains(saidBy(err), "forwarding via header")
}

// States of a server by the status of its answer.
var states = map[int]string{
	412:                           "it has not caught up with the active server yet",
	472:                           "it is a secondary for disaster recovery, which serves nothing",
	473:                           "it is a standby that does not serve this",
	http.StatusServiceUnavailable: "it is sealed or in maintenance: unseal it (vault operator unseal)",
}

// failed classifies err, the error of a request at path, and adds what to do.
// needs are the capabilities of a policy that the request uses.
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
		return fail(store.ErrUnavailable, "check that it is reachable: "+reason(err))
	case status == http.StatusForbidden:
		return fail(store.ErrPermission, fmt.Sprintf("permission denied: the policy of the token must allow %s on %s", needs, s.policyPath(path)))
	case isNoMount(err):
		return fail(store.ErrUnavailable, fmt.Sprintf("the mount is gone: vault secrets enable -path=%s -version=2 kv (store.vault.mount), and restore what it held", s.config.Mount))
	case status == http.StatusRequestEntityTooLarge:
		return fail(store.Unfit(subjects.ErrTooLarge), "the record is too large for it: "+said)
	case status == http.StatusTooManyRequests:
		return store.Throttled(fail(store.ErrThrottled, "a quota limits requests (vault list sys/quotas/rate-limit), or it is a standby that does not forward them: "+said), retryAfter(err))
	case needs != "read" && needs != "list" && isFull(status, said):
		return fail(store.ErrFull, fmt.Sprintf("its storage is full: make room there (status %d) %s", status, said))
	case states[status] != "":
		return fail(store.ErrUnavailable, fmt.Sprintf("%s (status %d) %s", states[status], status, said))
	case status == http.StatusBadRequest && strings.Contains(said, "unavailable for a brief period"):
		return fail(store.ErrUnavailable, "the mount was enabled a moment ago: "+said)
	case status >= 500:
		return fail(store.ErrUnavailable, fmt.Sprintf("status %d %s: check its log", status, said))
	default:
		return fmt.Errorf("from Vault at %s (store.vault.address), %s: status %d %s", s.config.Address, path, status, said)
	}
}

// policyPath returns the path of a policy that covers path, which is below
// Config.Path in one part of the engine.
func (s *Store) policyPath(path string) string {
	for _, part := range []string{"data", "metadata", "destroy"} {
		if at := s.pathOf(part, ""); strings.HasPrefix(path, at) {
			return at + "*"
		}
	}
	return path
}

// ended returns the error of a call whose context has ended.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause == errOverdue || cause == store.ErrClosed {
		return cause
	}
	return ctx.Err()
}

// reason returns the text of a network failure without the request's URL, which
// the message already has.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
