//go:build unix

package testbed

import (
	"syscall"
	"testing"
)

// Pause stops the process until Resume: it keeps its connections, but answers nothing.
// Pause returns when the whole process has stopped, which is some time after the
// signal.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(s.process.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			t.Fatal(err)
		case !status.Stopped():
			t.Fatalf("the process ended: %v", status)
		default:
			return
		}
	}
}

// Resume ends Pause.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}
