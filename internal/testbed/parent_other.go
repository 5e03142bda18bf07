//go:build !linux

package testbed

import "syscall"

// dieWithParent does nothing: the bed itself notices that its input has ended.
func dieWithParent() *syscall.SysProcAttr { return nil }
