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

// Command is how a person who runs this program runs another one of this module.
func Command(name string) string {
	path, err := os.Executable()
	if err != nil {
		return name
	}
	return commandBeside(path, name)
}

// commandBeside is Command for a program at path. What "go run" built is in a directory
// of its own or in Go's cache, and both are called so.
func commandBeside(path, name string) string {
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if strings.HasPrefix(part, "go-build") && !strings.HasSuffix(path, ".test") {
			return "go run ./cmd/" + name
		}
	}
	return name
}

// SetUp gives a program --version, and errors that say which command was meant. It must
// run once all commands are added.
func SetUp(root *cobra.Command) {
	root.Version = build.Version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.InitDefaultCompletionCmd("completion") // a group, as others
	root.SetHelpCommand(helpCommand(root))
	setUpGroup(root)
}

func setUpGroup(cmd *cobra.Command) {
	if !cmd.HasSubCommands() {
		return
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = noOther
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

// noOther refuses what is none of a group's commands.
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

// helpCommand is cobra's, with an error for what does not exist.
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
