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

// session keeps the client's token alive, and gets another when it is lost.
//
//	login ─► lease ─► renew when a third of it is left ─┬─► lease
//	  ▲                                                 │
//	  └── it cannot be renewed, or not for long ◄───────┘
//	  └── a call was refused, and the token is not known any more
type session struct {
	config Config
	client *api.Client // with the token
	entry  *api.Client // for logins alone, by who has the turn
	log    *slog.Logger
	index  index

	turn chan struct{} // held by who logs in or renews: one at a time

	mu      sync.Mutex
	lease   lease
	changed chan struct{} // has one item when lease was changed by a call
}

// lease says how long a token lives.
type lease struct {
	given     time.Time     // by a login
	since     time.Time     // it was given, renewed or looked at
	ttl       time.Duration // from then on; 0 for ever
	granted   time.Duration // at the login
	renewable bool
	due       time.Time // for renewal or login; zero for never
}

// Bounds of renewing.
const (
	renewBelow   = time.Hour              // is left, at the latest, of a token that had half as much again
	shortestWait = 100 * time.Millisecond // between two attempts
	longestWait  = 10 * time.Second       // until the next attempt after one that failed
	// freshFor is how long a token is taken for good that was just given: what is
	// refused then is refused by its policy.
	freshFor = time.Second
)

// newLease is the lease of a token that had the lease before, or of a new one.
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

// enter waits for the turn, which leave ends.
func (s *session) enter(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

func (s *session) leave() { <-s.turn }

// loginLocked gets a token. Whoever calls it has the turn.
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
		s.log.Warn("the token for Vault ends and cannot be renewed: give another", "setting", s.setting(), "ends", l.since.Add(l.ttl))
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

// authenticate returns a token that Vault knows.
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

// lookup is authenticate with a token that is a setting.
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
		seconds = 1 // less than that is left; 0 would be for ever
	}
	return token, &api.SecretAuth{LeaseDuration: seconds, Renewable: renewable}, nil
}

// readFile reads a secret that is a file's one line.
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

// refused says why there is no token.
func (s *session) refused(ctx context.Context, path string, err error) error {
	status := statusOf(err)
	remedy := map[string]string{
		authToken:      "Vault does not know the token, or it has ended: give another. Or its policy does not allow read on " + path,
		authAppRole:    "AppRole refuses them: do they belong together, and has the secret ID ended?",
		authKubernetes: "is the role there, and bound to the service account and namespace of this pod?",
	}[s.config.Auth]
	at := fmt.Sprintf("Vault at %s (store.vault.address), %s", s.config.Address, path)
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.Is(err, errGarbage):
		return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, at, err)
	case (status == http.StatusBadRequest || status == http.StatusNotFound) && !isVaults(err):
		return fmt.Errorf("%w: %s: %w Or is the address another server's, or http where it takes https? (status %d)", store.ErrUnavailable, at, errGarbage, status)
	case isNoMount(err) && s.config.Auth == authToken: // which every Vault has
		return fmt.Errorf("%w: %s: it knows no such path: give its address without /v1, and a store.vault.namespace that exists (status %d)", store.ErrUnavailable, at, status)
	case status == 0:
		return fmt.Errorf("%w: %s: is it reachable? %s", store.ErrUnavailable, at, reason(err))
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s: a quota limits logins (vault list sys/quotas/rate-limit)", store.ErrThrottled, at)
	case states[status] != "":
		return fmt.Errorf("%w: %s: %s (status %d)", store.ErrUnavailable, at, states[status], status)
	case status >= 500 && s.config.Auth != authKubernetes: // where it is what the cluster says of the pod's token
		return fmt.Errorf("%w: %s: status %d %s", store.ErrUnavailable, at, status, saidBy(err))
	}
	if s.config.Auth != authToken && (status == http.StatusForbidden || status == http.StatusNotFound) {
		remedy += fmt.Sprintf(" Or is nothing mounted there? vault auth enable -path=%s %s (store.vault.auth_mount)", s.config.AuthMount, s.config.Auth)
	}
	return fmt.Errorf("%w: %s: %s (%s: status %d %s)", store.ErrPermission, s.setting(), remedy, at, status, saidBy(err))
}

// setting names what the token comes from.
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

// replace is asked by a call whose token was refused. It reports whether there
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
	s.log.Warn("Vault does not know the token any more", "auth", s.config.Auth)
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

// extend renews the token, or logs in again where that gains more.
func (s *session) extend(ctx context.Context) {
	limited, cancel := context.WithTimeoutCause(ctx, callTimeout, errOverdue)
	defer cancel()
	if s.enter(limited) != nil {
		return
	}
	defer s.leave()
	before := s.current()
	if time.Now().Before(before.due) {
		return // a call has done it
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
	// It has reached the longest life that it may have.
	return s.loginLocked(ctx)
}
