package vault

import (
	"context"
	"net/http"
	"time"

	"credbus/subjects"
)

// For name_test.go.
var (
	NameOf = nameOf
	KeyOf  = keyOf
)

// Lending returns the transport of a store over inner.
func Lending(inner http.RoundTripper) http.RoundTripper { return roundTripper{inner, new(index)} }

// SetQuiet changes how long s keeps a tombstone before the burial.
func (s *Store) SetQuiet(quiet time.Duration) { s.burial.quiet = quiet }

// Token returns the present token of s.
func (s *Store) Token() string { return s.client.Token() }

// Age changes how long ago s logged in.
func (s *Store) Age(age time.Duration) {
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	s.session.lease.given = time.Now().Add(-age)
}

// Bury buries key if its tombstone is old enough.
func (s *Store) Bury(ctx context.Context, key subjects.Target) error { return s.buryOne(ctx, key) }
