package testbed

import "syscall"

// dieWithParent ends a process that is paused, too, when the test is gone.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
