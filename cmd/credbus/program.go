package main

import (
	"context"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"credbus/client"
	"credbus/internal/cli"
)

// program is one run of the command line. It has files, not interfaces, since
// commands ask whether they are terminals.
type program struct {
	stdin, stdout, stderr *os.File

	connection connection
	// begun is set once a command's own code runs: an earlier error is one of
	// the command line.
	begun bool
	bar   *progressbar.ProgressBar // while one is shown
}

// run does what args say and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !p.begun {
		err = usageError{err, called.CommandPath()}
	}
	return p.fail(ctx, err)
}

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "credbus",
		Short: "Store and retrieve credentials over NATS",
		Long: `Store and retrieve credentials over NATS.

A credential has an ID within a scope, such as org:acme/team:eng, and one value
or several named ones:

  echo -n s3cret | credbus store org:acme/team:eng db-password
  credbus retrieve org:acme/team:eng db-password

The command line connects to the first of these that is given or found:

  1. flags (--server, --context, or --data-dir for the worker of that directory)
  2. the variables NATS_URL and NATS_CONTEXT
  3. the worker of this machine: client.json in its data directory
     (CREDBUS_DATA_DIR, or the default)
  4. the context that "nats context select" chose
  5. nats://127.0.0.1:4222

The user is taken from flags, then from NATS_USER, NATS_PASSWORD, NATS_CREDS,
NATS_NKEY and NATS_TOKEN, then from the context. --context, --data-dir and the worker
of this machine give both address and user: then no NATS_ variable counts.

Exit status:

  0    done
  1    any other failure, or some lines of an import or items of a job failed
  2    the command line is wrong, or an argument breaks a rule
  3    not found
  4    conflict: it exists already, or is at another version
  5    permission denied, or NATS refused the credentials
  6    no server, worker, store or replica answered, or the store has no room
  7    validate, or a job that validates: expired
  8    validate, or such a job: malformed
  9    validate, or such a job: valid, and rotation is due
  130  interrupted`,
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { p.warnOfSecrets(cmd.Flags()) },
	}
	root.PersistentFlags().SortFlags = false
	p.connection.register(root.PersistentFlags())
	root.SetFlagErrorFunc(flagError)
	for _, command := range []*cobra.Command{
		p.storeCommand(), p.patchCommand(), p.retrieveCommand(), p.deleteCommand(), p.listCommand(), p.describeCommand(), p.validateCommand(),
		p.importCommand(), p.exportCommand(), p.watchCommand(), p.cacheCommand(), p.keysCommand(), p.migrateCommand(), p.deploymentCommand(),
		p.jobsCommand(), p.tenantCommand(), p.auditCommand(),
	} {
		command.Flags().SortFlags = false
		root.AddCommand(command)
	}
	cli.SetUp(root)
	return root
}

// action is a command's own code.
type action func(ctx context.Context, c *client.Client, args []string) error

// connected turns an action into a function for cobra.
func (p *program) connected(do action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.begun = true
		p.sayMoments(cmd)
		return p.withClient(cmd.Context(), args, do)
	}
}

func (p *program) withClient(ctx context.Context, args []string, do action) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := p.connection.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := p.connection.client(conn)
	if err != nil {
		return err
	}
	defer c.Close()
	endOnDenial(conn, cancel)
	return denialIn(ctx, do(ctx, c, args))
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
