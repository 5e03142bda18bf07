package main

import (
	"errors"
	"fmt"

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
