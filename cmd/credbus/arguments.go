package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"credbus/subjects"
)

// names checks positional arguments, a scope and then an ID, before the program
// connects or prompts. It does not quote them: one may be a value in the wrong
// place.
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
				return errors.New("the scope is empty: the root holds no credential of its own, so name a scope")
			}
			if _, err := subjects.ParseID(args[1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// wrongCount is the error for too many or too few arguments.
func wrongCount(cmd *cobra.Command, args []string) error {
	return fmt.Errorf("%s %s given: write %s", count(len(args), "argument"), was(len(args), "was", "were"), cmd.UseLine())
}

// target parses arguments that names has checked.
func target(args []string) (target subjects.Target) {
	if len(args) > 0 {
		target.Scope = subjects.Scope(args[0])
	}
	if len(args) > 1 {
		target.ID = subjects.ID(args[1])
	}
	return target
}
