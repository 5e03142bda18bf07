package vault

import (
	"context"
	"net/http"
	"time"

	"credbus/internal/store"
)

// For name_test.go.
var (
	NameOf = nameOf
	KeyOf  = keyOf
)

// Lending is the transport of a store over inner.
func Lending(inner http.RoundTripper) http.RoundTripper { return roundTripper{inner, new(index)} }

// SetQuiet changes how long a tombstone of s stands before its burial.
func (s *Store) SetQuiet(quiet time.Duration) { s.burial.quiet = quiet }

// Token is the token that s has now.
func (s *Store) Token() string { return s.client.Token() }

// Age makes the login of s as long ago as that.
func (s *Store) Age(age time.Duration) {
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	s.session.lease.given = time.Now().Add(-age)
}

// Bury buries key, if it is time.
func (s *Store) Bury(ctx context.Context, key store.Key) error { return s.buryOne(ctx, key) }
