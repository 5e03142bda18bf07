package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"credbus/subjects"
)

// errInterrupted is the error of a prompt that Ctrl-C or Ctrl-\ ended.
var errInterrupted = errors.New("interrupted")

// These make a terminal mark pasted text, and stop that again.
const (
	markPastes    = "\x1b[?2004h"
	markPastesNot = "\x1b[?2004l"
)

// prompt asks twice for a value on the terminal, without echo. The key that ends it is
// not part of it.
//
// The terminal is in raw mode meanwhile. In its usual mode, the kernel cuts lines at 4,095
// bytes, and a paste of several lines would end after the first.
func (p *program) prompt(ctx context.Context, about subjects.Target) (value []byte, err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGQUIT, syscall.SIGHUP)
	defer stop()
	fd := int(p.stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	marks := isTerminal(p.stderr)
	if marks {
		fmt.Fprint(p.stderr, markPastes)
	}
	defer func() {
		if marks {
			fmt.Fprint(p.stderr, markPastesNot)
		}
		_ = term.Restore(fd, before) // else the shell would stay without echo
		fmt.Fprintln(p.stderr)
		switch {
		case ctx.Err() != nil, errors.Is(err, errInterrupted):
			err = errInterrupted
		case err != nil:
			err = usageError{err, "credbus store"}
		case bytes.IndexByte(value, '\n') == len(value)-1:
			p.say(endsWithNewline)
		}
		if err != nil {
			clear(value)
			value = nil
		}
	}()

	keys := readKeys(p.stdin)
	defer func() {
		if err != nil {
			keys.drop(ctx) // else the rest of a paste would go to the shell
		}
	}()
	several := func() { fmt.Fprint(p.stderr, "(several lines: end them with Ctrl-D) ") }
	fmt.Fprintf(p.stderr, "Value of %s (not shown): ", about)
	value, err = keys.value(ctx, several)
	switch {
	case err != nil:
		return value, err
	case len(value) == 0:
		return value, errors.New("no value was typed")
	}
	fmt.Fprint(p.stderr, "\r\nThe same again: ")
	again, err := keys.value(ctx, several)
	defer clear(again)
	if err == nil && !bytes.Equal(value, again) {
		err = errors.New("the second value is not the same as the first, so nothing was stored: type the same twice, or use --file")
	}
	return value, err
}
