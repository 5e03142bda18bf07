package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credbus/subjects"
)

// names checks positional arguments, of which the first is a scope and the
// second an ID, before anything is connected to or asked for. It does not
// quote them: a value may have come to stand there.
func names(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return wrongCount(cmd, args)
		}
		if len(args) > 0 {
			if _, err := subjects.ParseScope(args[0]); err != nil {
				return err
			}
		}
		if len(args) > 1 {
			if args[0] == "" {
				return errors.New("the scope is empty: the root holds no credential of its own")
			}
			if _, err := subjects.ParseID(args[1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// wrongCount is the error of too many arguments, or too few.
func wrongCount(cmd *cobra.Command, args []string) error {
	return fmt.Errorf("%s %s given: write %s", count(len(args), "argument"), was(len(args), "was", "were"), cmd.UseLine())
}

// target is what arguments that names has checked say.
func target(args []string) (target subjects.Target) {
	if len(args) > 0 {
		target.Scope = subjects.Scope(args[0])
	}
	if len(args) > 1 {
		target.ID = subjects.ID(args[1])
	}
	return target
}

// moment is a flag that holds a point in time: RFC 3339, or how long from now.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type is what the help calls the flag's value.
func (m *moment) Type() string { return "TIME" }

// Set parses the value.
func (m *moment) Set(text string) error {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		m.Time = at
		return nil
	}
	span, err := parseSpan(text)
	if err != nil || span <= 0 {
		return errors.New("write a time as 2026-12-31T00:00:00Z, or how long from now as 90d or 12h")
	}
	m.Time = time.Now().Add(span)
	return nil
}

// parseSpan is time.ParseDuration with whole days beside it.
func parseSpan(text string) (time.Duration, error) {
	days, found := strings.CutSuffix(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	const most = 100 * 365
	n, err := strconv.Atoi(days)
	if err != nil || n > most {
		return 0, errors.New("not a number of days")
	}
	return time.Duration(n) * 24 * time.Hour, nil
}
