//go:build !linux

package testbed

import "syscall"

// dieWithParent leaves it to the bed to notice that its input has ended.
func dieWithParent() *syscall.SysProcAttr { return nil }
