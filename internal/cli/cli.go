package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"credbus/internal/build"
)

// Command returns what the user of this program types to run another one of this module.
func Command(name string) string {
	path, err := os.Executable()
	if err != nil {
		return name
	}
	return commandBeside(path, name)
}

// commandBeside is Command for a program at path. "go run" puts programs into a directory
// of their own or into Go's cache; both have names that begin with go-build.
func commandBeside(path, name string) string {
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if strings.HasPrefix(part, "go-build") && !strings.HasSuffix(path, ".test") {
			return "go run ./cmd/" + name
		}
	}
	return name
}

// SetUp adds --version to a program, and errors that suggest the right command. Call it
// after all commands are added.
func SetUp(root *cobra.Command) {
	root.Version = build.Version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.InitDefaultCompletionCmd("completion") // setUpGroup must see it
	root.SetHelpCommand(helpCommand(root))
	setUpGroup(root)
}

func setUpGroup(cmd *cobra.Command) {
	if !cmd.HasSubCommands() {
		return
	}
	cmd.SuggestionsMinimumDistance = 2
	if !cmd.HasParent() || !cmd.Runnable() { // or else the command takes arguments itself, too
		cmd.Args = noOther
	}
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			if !cmd.HasParent() {
				return cmd.Help()
			}
			var names []string
			for _, below := range cmd.Commands() {
				names = append(names, below.Name())
			}
			return fmt.Errorf("%s is no command by itself: choose %s", cmd.CommandPath(), orList(names))
		}
	}
	for _, below := range cmd.Commands() {
		setUpGroup(below)
	}
}

// noOther refuses a name that is not a command of the group.
func noOther(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", args[0])
	if cmd.HasParent() {
		text = fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ", did you mean " + orList(near) + "?"
	}
	return errors.New(text)
}

func orList(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// helpCommand is cobra's, with an error for commands that do not exist.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) (names []string, _ cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, below := range cmd.Commands() {
				if below.IsAvailableCommand() && strings.HasPrefix(below.Name(), begun) {
					names = append(names, below.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			switch {
			case err != nil:
				return err
			case len(rest) > 0 && cmd.HasSubCommands():
				return noOther(cmd, rest)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}
