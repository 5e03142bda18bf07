//go:build !unix

package testbed

import "testing"

// Pause skips the test.
func (s *Server) Pause(t testing.TB) { t.Skip("this system cannot pause a process") }

// Resume ends Pause.
func (s *Server) Resume(testing.TB) {}
