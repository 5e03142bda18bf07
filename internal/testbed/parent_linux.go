package testbed

import "syscall"

// dieWithParent makes a process end with the test, even if it is paused.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
