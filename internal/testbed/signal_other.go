//go:build !unix

package testbed

import "testing"

// Pause is for systems that can stop a process.
func (s *Server) Pause(t testing.TB) { t.Skip("this system cannot pause a process") }

// Resume ends Pause.
func (s *Server) Resume(testing.TB) {}
