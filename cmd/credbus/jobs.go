package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) jobsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Submit jobs, and show their state",
		Long: `Submit jobs, and show their state. Workers take a job from a durable queue
and carry out each of its items once; nobody has to wait for it. Jobs that were
submitted together are a submission. Their names are NAME-0, NAME-1 and so on.

The result of a job is known for a day after its last change. A job that was given up
is a dead letter, which is kept for longer: retry it or drop it.`,
	}
	for _, command := range []*cobra.Command{
		p.jobsSubmitCommand(), p.jobsListCommand(), p.jobsShowCommand(), p.jobsWatchCommand(), p.jobsCancelCommand(),
		p.jobsDeadCommand(), p.jobsRetryCommand(), p.jobsDropCommand(),
	} {
		command.Flags().SortFlags = false
		cmd.AddCommand(command)
	}
	return cmd
}

// jobName checks a scope, which may be the root, and the name of a job in it.
func jobName(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return wrongCount(cmd, args)
	}
	if _, err := subjects.ParseScope(args[0]); err != nil {
		return err
	}
	_, err := subjects.ParseID(args[1])
	return err
}

// completeJobs completes a scope, and the name of a job in it or of a submission.
func (p *program) completeJobs(options client.JobListOptions, name func(*client.JobStatus) client.ID) cobra.CompletionFunc {
	scopes := p.completeNames(1)
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return scopes(cmd, args, begun)
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		var found []string
		// The command itself will report an error.
		_ = p.withClient(ctx, args, func(ctx context.Context, c *client.Client, args []string) (err error) {
			found, err = collect(c.Jobs(ctx, target(args).Scope, &options), func(job *client.JobStatus) string {
				if id := string(name(job)); job.Scope == target(args).Scope && strings.HasPrefix(id, begun) {
					return id
				}
				return ""
			})
			return err
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func jobOf(job *client.JobStatus) client.ID        { return job.ID }
func submissionOf(job *client.JobStatus) client.ID { return job.Submission }

func (p *program) jobsListCommand() *cobra.Command {
	var (
		options           client.JobListOptions
		state, submission string
	)
	cmd := &cobra.Command{
		Use:   "list [SCOPE]",
		Short: "List the jobs of a scope and all scopes below it",
		Long: `List the jobs of a scope and all scopes below it, or of all scopes if none is given.
All given filters must match. ITEMS counts those that succeeded, those that failed,
and all. REASON says why a job failed, or what it found by validating, such as how
many are expired.

-o json prints one JSON object on a line for each job.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	states := []string{string(client.JobAccepted), string(client.JobRunning), string(client.JobDone), string(client.JobFailed), string(client.JobCancelled)}
	cmd.Flags().StringVar(&state, "state", "", "only those in this state: "+strings.Join(states, ", "))
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	cmd.Flags().StringVar(&submission, "submission", "", "only those of this submission")
	cmd.Flags().BoolVar(&options.Dead, "dead", false, "only dead letters")
	format := formatFlag(cmd, asText, asJSON)
	list := p.listJobs(&options, format)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options.State, options.Submission = client.JobState(state), client.ID(submission)
		return list(cmd, args)
	}
	return cmd
}

func (p *program) jobsDeadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead [SCOPE]",
		Short: "List the dead letters of a scope and all scopes below it",
		Long: `List the jobs of a scope and all scopes below it that were given up, and why. They
are kept for a week unless the workers have another setting (jobs.keep_dead).

-o json prints one JSON object on a line for each job.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.RunE = p.listJobs(&client.JobListOptions{Dead: true}, formatFlag(cmd, asText, asJSON))
	return cmd
}

func (p *program) listJobs(options *client.JobListOptions, format *format) func(*cobra.Command, []string) error {
	return p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		table := newTable(p.stdout, "SCOPE", "JOB", "COMMAND", "STATE", "ITEMS", "ATTEMPTS", "SUBMITTED", "UPDATED", "REASON")
		for job, err := range c.Jobs(ctx, target(args).Scope, options) {
			if err != nil {
				return err
			}
			if format.chosen == asJSON {
				err = writeJSON(p.stdout, job)
			} else {
				err = table.row(string(job.Scope), string(job.ID), commandName(job.Command), stateText(job), itemsText(job),
					fmt.Sprint(job.Attempts), shown(job.Submitted), shown(job.Updated), cmp.Or(job.Reason, foundBy(job).text()))
			}
			if err != nil {
				return err
			}
		}
		return table.flush()
	})
}

// commandName is the name that the command line has for a command of jobs.
func commandName(command client.Command) string {
	return strings.TrimSuffix(string(command), "_batch")
}

func stateText(job *client.JobStatus) string {
	text := string(job.State)
	switch {
	case job.Cancelling:
		text += ", cancelling"
	case job.Dead:
		text += ", dead"
	}
	return text
}

// foundBy counts what a job found by validating.
func foundBy(job *client.JobStatus) *tally {
	return &tally{total: job.Items, missing: job.NotFound, malformed: job.Malformed, expired: job.Expired, due: job.RotationDue}
}

func itemsText(job *client.JobStatus) string {
	return fmt.Sprintf("%d/%d/%d", job.Succeeded, job.Failed, job.Items)
}

func (p *program) jobsShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show SCOPE JOB|SUBMISSION",
		Short: "Show the state of a job, and the result of each item",
		Long: `Show the state of a job, and the result of each of its items. For a submission, named as
in submit --submission, show all its jobs, one after the other. The exit status is 0 for a
job that failed, too.

-o json prints one JSON object on a line for each job.`,
		Args:              jobName,
		ValidArgsFunction: p.completeJobs(client.JobListOptions{}, jobOf),
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		first := true
		show := func(job *client.JobStatus) error {
			if format.chosen == asJSON {
				return writeJSON(p.stdout, job)
			}
			if !first {
				fmt.Fprintln(p.stdout) // the next write reports an error
			}
			first = false
			return p.printJob(job)
		}
		scope, id := client.Scope(args[0]), client.ID(args[1])
		job, err := c.Job(ctx, scope, id)
		if err == nil {
			return show(job)
		}
		if !errors.Is(err, client.ErrNotFound) {
			return err
		}
		// No job has this name, so it names a submission.
		submission, err := c.Submission(scope, id).Status(ctx)
		if err != nil {
			return hinted(err)
		}
		for i := range submission.Jobs {
			switch job, err := c.Job(ctx, scope, submission.Jobs[i].ID); {
			case errors.Is(err, client.ErrNotFound):
				p.say("%s is not known: it was not accepted yet, or ended long ago", submission.Jobs[i].Target)
			case err != nil:
				return err
			default:
				if err := show(job); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return cmd
}

func (p *program) printJob(job *client.JobStatus) error {
	for _, line := range []struct{ name, value string }{
		{"job", job.Target.String()},
		{"submission", fmt.Sprintf("%s, of %s", job.Submission, count(job.Parts, "job"))},
		{"command", commandName(job.Command)},
		{"state", stateText(job)},
		{"reason", job.Reason},
		{"items", fmt.Sprintf("%s, of %d", outcomesText(job.Succeeded, job.Failed, foundBy(job)), job.Items)},
		{"attempts", fmt.Sprint(job.Attempts)},
		{"submitted", shown(job.Submitted)},
		{"not before", shown(job.NotBefore)},
		{"expires at", shown(job.ExpiresAt)},
		{"retry at", shown(job.RetryAt)},
		{"updated", shown(job.Updated)},
		{"worker", job.Worker},
	} {
		if line.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(p.stdout, "%-10s  %s\n", line.name, printable(line.value)); err != nil {
			return err
		}
	}
	if len(job.Results) == 0 {
		return nil
	}
	fmt.Fprintln(p.stdout) // the table below reports an error
	table := newTable(p.stdout, "SCOPE", "ID", "RESULT", "VERSION", "DETAIL")
	for i := range job.Results {
		result := &job.Results[i]
		outcome, detail := "succeeded", result.Reason
		switch {
		case result.Pending:
			outcome = "pending"
		case result.Err != nil:
			outcome = string(result.Err.Code)
		case result.Status != "":
			outcome = string(result.Status)
		}
		if result.Err != nil {
			detail = result.Err.Message
		}
		if err := table.row(string(result.Scope), string(result.ID), outcome, result.Version, detail); err != nil {
			return err
		}
	}
	return table.flush()
}

// hinted says what to do if a job is not found, instead of the hint about
// credentials.
func hinted(err error) error {
	if errors.Is(err, client.ErrNotFound) {
		return verdict{joined(err.Error(), "credbus jobs list shows the jobs that exist"), exitNotFound}
	}
	return err
}

func (p *program) jobsCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel SCOPE JOB|SUBMISSION",
		Short: "Cancel a job, or all jobs of a submission",
		Long: `Cancel a job, or all jobs of a submission. A job that has not begun ends at once; one that
has begun ends before its next item. Items that are done stay done, and jobs that have
ended stay as they are.`,
		Args:              jobName,
		ValidArgsFunction: p.completeJobs(client.JobListOptions{}, submissionOf),
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		scope, id := client.Scope(args[0]), client.ID(args[1])
		err := c.Submission(scope, id).Cancel(ctx)
		if errors.Is(err, client.ErrNotFound) {
			_, err = c.CancelJob(ctx, scope, id)
		}
		if err != nil {
			return hinted(err)
		}
		_, err = fmt.Fprintf(p.stdout, "cancelling %s\n", client.Target{Scope: scope, ID: id})
		return err
	})
	return cmd
}

func (p *program) jobsRetryCommand() *cobra.Command {
	return p.deadLetterCommand(&cobra.Command{
		Use:   "retry SCOPE JOB",
		Short: "Put a dead letter back into the queue",
		Long: `Put a dead letter back into the queue. Items that have an outcome keep it, and the
others are tried again.`,
	}, (*client.Client).RetryJob, "retrying")
}

func (p *program) jobsDropCommand() *cobra.Command {
	return p.deadLetterCommand(&cobra.Command{
		Use:   "drop SCOPE JOB",
		Short: "Remove a dead letter",
	}, (*client.Client).DropJob, "dropped")
}

func (p *program) deadLetterCommand(cmd *cobra.Command, do func(*client.Client, context.Context, client.Scope, client.ID) (*client.JobStatus, error), done string) *cobra.Command {
	cmd.Args = jobName
	cmd.ValidArgsFunction = p.completeJobs(client.JobListOptions{Dead: true}, jobOf)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		job, err := do(c, ctx, client.Scope(args[0]), client.ID(args[1]))
		if errors.Is(err, client.ErrNotFound) {
			return verdict{joined(err.Error(), "credbus jobs dead shows the dead letters that exist"), exitNotFound}
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s %s\n", done, job.Target)
		return err
	})
	return cmd
}
