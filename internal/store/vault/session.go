package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
)

// session keeps the client's token alive, and replaces a lost one.
//
//	login ─► lease ─► renew when a third of it is left ─┬─► lease
//	  ▲                                                 │
//	  └── it cannot be renewed, or not for long ◄───────┘
//	  └── a call was refused, and the token is not known any more
type session struct {
	config Config
	client *api.Client // with the token
	entry  *api.Client // only for logins, by the holder of turn
	log    *slog.Logger
	index  index

	turn chan struct{} // held during a login or renewal: one at a time

	mu      sync.Mutex
	lease   lease
	changed chan struct{} // has one item after a call changed lease
}

// lease says how long a token lives.
type lease struct {
	given     time.Time     // when a login gave it
	since     time.Time     // when it was given, renewed or looked up
	ttl       time.Duration // from since on; 0 means for ever
	granted   time.Duration // at the login
	renewable bool
	due       time.Time // for renewal or login; zero for never
}

// Bounds of renewing.
const (
	renewBelow   = time.Hour              // renew with at least this left, if the token had 1.5 times as much
	shortestWait = 100 * time.Millisecond // between two attempts
	longestWait  = 10 * time.Second       // after a failed attempt
	// freshFor is how long a new token counts as good: if it is refused in that
	// time, its policy is the cause.
	freshFor = time.Second
)

// newLease returns the lease of a token that had the lease before, or of a new
// token.
func newLease(auth *api.SecretAuth, before lease) lease {
	l := lease{given: before.given, since: time.Now(), ttl: time.Duration(auth.LeaseDuration) * time.Second, renewable: auth.Renewable}
	if l.given.IsZero() {
		l.given = l.since
	}
	l.granted = max(before.granted, l.ttl)
	if l.ttl > 0 {
		wait := l.ttl * 2 / 3
		if l.ttl > renewBelow*3/2 {
			wait = min(wait, l.ttl-renewBelow)
		}
		l.due = l.since.Add(max(wait, shortestWait))
	}
	return l
}

func newSession(config Config, log *slog.Logger) (*session, error) {
	s := &session{config: config, log: log, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	var err error
	if s.client, err = newClient(config, &s.index); err != nil {
		return nil, err
	}
	s.entry, err = newClient(config, &s.index)
	return s, err
}

// enter waits for the turn. leave ends it.
func (s *session) enter(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (s *session) leave() { <-s.turn }

// loginLocked gets a token. The caller must hold the turn.
func (s *session) loginLocked(ctx context.Context) error {
	token, auth, err := s.authenticate(ctx)
	if err != nil {
		return err
	}
	before := lease{}
	again := token == s.client.Token()
	if again {
		before.given = s.current().given
	}
	s.client.SetToken(token)
	l := newLease(auth, before)
	s.set(l)
	if again {
		s.log.Warn("the token for Vault will expire and cannot be renewed: give another", "setting", s.setting(), "ends", l.since.Add(l.ttl))
	} else {
		s.log.Info("logged in to Vault", "auth", s.config.Auth, "ttl", l.ttl, "renewable", l.renewable)
	}
	return nil
}

func (s *session) set(l lease) {
	s.mu.Lock()
	s.lease = l
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *session) current() lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease
}

// authenticate returns a valid token.
func (s *session) authenticate(ctx context.Context) (token string, auth *api.SecretAuth, err error) {
	var body map[string]any
	switch s.config.Auth {
	case authAppRole:
		secretID := s.config.SecretID
		if s.config.SecretIDFile != "" {
			if secretID, err = readFile("secret_id_file", s.config.SecretIDFile); err != nil {
				return "", nil, err
			}
		}
		body = map[string]any{"role_id": s.config.RoleID, "secret_id": secretID}
	case authKubernetes:
		jwt, err := readFile("jwt_file", s.config.JWTFile)
		if err != nil {
			return "", nil, err
		}
		body = map[string]any{"role": s.config.Role, "jwt": jwt}
	default:
		return s.lookup(ctx)
	}
	path := "auth/" + s.config.AuthMount + "/login"
	answer, err := s.entry.Logical().WriteWithContext(ctx, path, body)
	if err != nil {
		return "", nil, s.refused(ctx, path, err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return "", nil, s.refused(ctx, path, errGarbage)
	}
	return answer.Auth.ClientToken, answer.Auth, nil
}

// lookup is authenticate with a token from the settings.
func (s *session) lookup(ctx context.Context) (token string, auth *api.SecretAuth, err error) {
	token = s.config.Token
	if s.config.TokenFile != "" {
		if token, err = readFile("token_file", s.config.TokenFile); err != nil {
			return "", nil, err
		}
	}
	const path = "auth/token/lookup-self"
	s.entry.SetToken(token)
	defer s.entry.ClearToken()
	found, err := s.entry.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return "", nil, s.refused(ctx, path, err)
	}
	ttl, err := found.TokenTTL()
	if err != nil {
		return "", nil, s.refused(ctx, path, errGarbage)
	}
	renewable, err := found.TokenIsRenewable()
	if err != nil {
		return "", nil, s.refused(ctx, path, errGarbage)
	}
	seconds := int(ttl / time.Second)
	if seconds == 0 && found.Data["expire_time"] != nil {
		seconds = 1 // less than a second is left; 0 would mean for ever
	}
	return token, &api.SecretAuth{LeaseDuration: seconds, Renewable: renewable}, nil
}

// readFile reads a file with a secret in one line.
func readFile(setting, path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: store.vault.%s: %w", store.ErrPermission, setting, err)
	}
	line := strings.TrimSpace(string(content))
	if line == "" {
		return "", fmt.Errorf("%w: store.vault.%s: %s is empty", store.ErrPermission, setting, path)
	}
	return line, nil
}

// refused returns the reason why there is no token.
func (s *session) refused(ctx context.Context, path string, err error) error {
	status := statusOf(err)
	remedy := map[string]string{
		authToken:      "Vault does not know the token, or the token has expired: give another. Or its policy does not allow read on " + path,
		authAppRole:    "AppRole refuses them: check that they belong together, and that the secret ID has not expired",
		authKubernetes: "check that the role exists, and is bound to the service account and namespace of this pod",
	}[s.config.Auth]
	at := fmt.Sprintf("Vault at %s (store.vault.address), %s", s.config.Address, path)
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.Is(err, errGarbage):
		return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, at, err)
	case (status == http.StatusBadRequest || status == http.StatusNotFound) && !isVaults(err):
		return fmt.Errorf("%w: %s: %w Or the address is that of another server, or http instead of https (status %d)", store.ErrUnavailable, at, errGarbage, status)
	case isNoMount(err) && s.config.Auth == authToken: // every Vault has that path
		return fmt.Errorf("%w: %s: it has no such path: give its address without /v1, and a store.vault.namespace that exists (status %d)", store.ErrUnavailable, at, status)
	case status == 0:
		return fmt.Errorf("%w: %s: check that it is reachable: %s", store.ErrUnavailable, at, reason(err))
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s: a quota limits logins (vault list sys/quotas/rate-limit)", store.ErrThrottled, at)
	case states[status] != "":
		return fmt.Errorf("%w: %s: %s (status %d)", store.ErrUnavailable, at, states[status], status)
	case status >= 500 && s.config.Auth != authKubernetes: // where it is what the cluster says of the pod's token
		return fmt.Errorf("%w: %s: status %d %s", store.ErrUnavailable, at, status, saidBy(err))
	}
	if s.config.Auth != authToken && (status == http.StatusForbidden || status == http.StatusNotFound) {
		remedy += fmt.Sprintf(" Or nothing is mounted there: vault auth enable -path=%s %s (store.vault.auth_mount)", s.config.AuthMount, s.config.Auth)
	}
	return fmt.Errorf("%w: %s: %s (%s: status %d %s)", store.ErrPermission, s.setting(), remedy, at, status, saidBy(err))
}

// setting names the source of the token.
func (s *session) setting() string {
	switch {
	case s.config.Auth == authAppRole:
		return "store.vault.role_id, store.vault.secret_id"
	case s.config.Auth == authKubernetes:
		return "store.vault.role, store.vault.jwt_file"
	case s.config.TokenFile != "":
		return "store.vault.token_file"
	}
	return "store.vault.token"
}

// replace replaces a token that was refused in a call. It reports whether there
// is another one now.
func (s *session) replace(ctx context.Context, used string) (replaced bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	switch {
	case s.client.Token() != used:
		return true, nil // another call was faster
	case time.Since(s.current().given) < freshFor:
		return false, nil
	}
	if _, err := s.client.Auth().Token().LookupSelfWithContext(ctx); statusOf(err) != http.StatusForbidden {
		return false, nil
	}
	s.log.Warn("Vault does not know the token any more: the worker logs in again", "auth", s.config.Auth)
	if err := s.loginLocked(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// keep renews the token until ctx ends.
func (s *session) keep(ctx context.Context) {
	for {
		var due <-chan time.Time
		if at := s.current().due; !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-due:
			s.extend(ctx)
		}
	}
}

// extend renews the token, or logs in again if that gains more time.
func (s *session) extend(ctx context.Context) {
	limited, cancel := context.WithTimeoutCause(ctx, callTimeout, errOverdue)
	defer cancel()
	if s.enter(limited) != nil {
		return
	}
	defer s.leave()
	before := s.current()
	if time.Now().Before(before.due) {
		return // a call did it
	}
	err := s.extendLocked(limited, before)
	if err == nil || ctx.Err() != nil {
		return
	}
	left := time.Until(before.since.Add(before.ttl))
	s.log.Warn("the token for Vault was not renewed", "left", max(left, 0).Round(time.Second), "error", err)
	before.due = time.Now().Add(min(max(left/3, shortestWait), longestWait))
	if left <= 0 {
		before.due = time.Now().Add(longestWait)
	}
	s.set(before)
}

func (s *session) extendLocked(ctx context.Context, before lease) error {
	if before.renewable {
		answer, err := s.client.Auth().Token().RenewSelfWithContext(ctx, 0)
		switch {
		case err != nil && statusOf(err) != http.StatusForbidden && statusOf(err) != http.StatusBadRequest:
			return s.refused(ctx, "auth/token/renew-self", err)
		case err != nil, answer == nil, answer.Auth == nil:
		default:
			next := newLease(answer.Auth, before)
			if next.ttl > before.granted/2 {
				s.set(next)
				s.log.Debug("renewed the token for Vault", "ttl", next.ttl)
				return nil
			}
		}
	}
	// The token has reached its longest life.
	return s.loginLocked(ctx)
}
