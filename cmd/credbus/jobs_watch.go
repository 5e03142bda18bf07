package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) jobsWatchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch SCOPE SUBMISSION",
		Short: "Follow a submission until all its jobs have ended",
		Long: `Follow a submission until all its jobs have ended: with a bar on a terminal, and
elsewhere with a line whenever the state of a job changes. Then stderr names the items
that failed, at most 20. The exit status is 0 if every item of every job has succeeded,
else 1. For jobs that validate, it also says what they found, as that of credbus validate
does: 3 not found, 7 expired, 8 malformed, 9 valid with rotation due.

-o json prints one JSON object for each line.`,
		Args:              jobName,
		ValidArgsFunction: p.completeJobs(client.JobListOptions{}, submissionOf),
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		return p.aboutSubmission(ctx, c, args, p.watchSubmission(ctx, c.Submission(client.Scope(args[0]), client.ID(args[1])), format))
	})
	return cmd
}

// aboutSubmission says what to do if a submission is not found.
func (p *program) aboutSubmission(ctx context.Context, c *client.Client, args []string, err error) error {
	if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	scope, id := client.Scope(args[0]), client.ID(args[1])
	if job, failed := c.Job(ctx, scope, id); failed == nil && job.Submission != id {
		return verdict{fmt.Sprintf("%s is a job, not a submission: credbus jobs watch %s %s follows its submission", job.Target, typed(scope), job.Submission), exitNotFound}
	}
	return hinted(err)
}

// watchSubmission follows a submission to its end, and returns its verdict.
func (p *program) watchSubmission(ctx context.Context, b *client.Submission, format *format) error {
	watching, err := b.Watch(ctx)
	if err != nil {
		return err
	}
	var last client.SubmissionStatus
	bar := p.startProgress("running", 1, false)
	defer bar.end()
	live := isTerminal(p.stderr) && isTerminal(p.stdout) && format.chosen == asText
	for status, err := range watching {
		if err != nil {
			return err
		}
		bar.set(status.Succeeded+status.Failed, expectedItems(&status))
		news := !maps.Equal(status.States, last.States) || status.Missing != last.Missing
		last = status
		if !news || live && !status.Ended() {
			continue
		}
		if status.Ended() {
			bar.end()
		}
		if err := p.printSubmission(&status, format); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	bar.end()
	if last.Failed > 0 {
		if err := p.sayFailures(ctx, b, last.Failed); err != nil {
			return err
		}
	}
	return submissionVerdict(&last)
}

// expectedItems counts the known items, and a full job for each that has not
// begun.
func expectedItems(status *client.SubmissionStatus) int {
	n := status.Items
	for i := range status.Jobs {
		if job := &status.Jobs[i]; job.Items == 0 && !job.State.Ended() {
			n += subjects.MaxBatchItems
		}
	}
	return n
}

// submissionLine is a line of credbus jobs watch -o json.
type submissionLine struct {
	Scope      client.Scope            `json:"scope"`
	Submission client.ID               `json:"batch"`
	Jobs       int                     `json:"jobs"`
	States     map[client.JobState]int `json:"states"`
	Missing    int                     `json:"not_known,omitempty"`
	Items      int                     `json:"items"`
	Succeeded  int                     `json:"succeeded"`
	Failed     int                     `json:"failed"`
	// What validating found.
	Expired     int `json:"expired,omitempty"`
	NotFound    int `json:"not_found,omitempty"`
	Malformed   int `json:"malformed,omitempty"`
	RotationDue int `json:"rotation_due,omitempty"`

	Ended bool `json:"ended"`
}

func (p *program) printSubmission(status *client.SubmissionStatus, format *format) error {
	if format.chosen == asJSON {
		line, err := lineOf(submissionLine{
			status.Scope, status.ID, len(status.Jobs), status.States, status.Missing,
			status.Items, status.Succeeded, status.Failed,
			status.Expired, status.NotFound, status.Malformed, status.RotationDue, status.Ended(),
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", line)
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "%s  %s  %s; %s, of %s\n",
		shown(time.Now()), client.Target{Scope: status.Scope, ID: status.ID}, statesText(status),
		outcomesText(status.Succeeded, status.Failed, foundIn(status)), count(status.Items, "item"))
	return err
}

// statesText counts the jobs by state.
func statesText(status *client.SubmissionStatus) string {
	var counts []string
	for _, state := range []client.JobState{client.JobAccepted, client.JobRunning, client.JobDone, client.JobFailed, client.JobCancelled} {
		if n := status.States[state]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	switch {
	case status.Missing > 0 && status.Ended():
		counts = append(counts, fmt.Sprintf("%d not known", status.Missing))
	case status.Missing > 0:
		counts = append(counts, fmt.Sprintf("%d not accepted yet", status.Missing))
	}
	return count(len(status.Jobs), "job") + ": " + strings.Join(counts, ", ")
}

// foundIn counts what the jobs of a submission found by validating.
func foundIn(s *client.SubmissionStatus) *tally {
	return &tally{total: s.Items, missing: s.NotFound, malformed: s.Malformed, expired: s.Expired, due: s.RotationDue}
}

// outcomesText counts the items of jobs by outcome.
func outcomesText(succeeded, failed int, found *tally) string {
	text := fmt.Sprintf("%d succeeded", succeeded)
	if what := found.text(); what != "" {
		text += " (" + what + ")"
	}
	return fmt.Sprintf("%s, %d failed", text, failed)
}

// maxFailures bounds how many items are named.
const maxFailures = 20

func (p *program) sayFailures(ctx context.Context, b *client.Submission, failed int) error {
	named := 0
	for result, err := range b.Results(ctx) {
		if err != nil {
			return err
		}
		if result.Err == nil || result.Pending {
			continue
		}
		if named++; named > maxFailures {
			p.say("%s more failed: credbus jobs show lists all items of a job", count(failed-maxFailures, "item"))
			break
		}
		p.say("%s: %s: %s", result.Target, result.Err.Code, result.Err.Message)
	}
	return nil
}

// submissionVerdict is nil when all has succeeded.
func submissionVerdict(status *client.SubmissionStatus) error {
	switch unfinished := len(status.Jobs) - status.States[client.JobDone]; {
	case unfinished > 0:
		return verdict{fmt.Sprintf("%d of %s did not finish (%s), and %s failed: credbus jobs list says why",
			unfinished, count(len(status.Jobs), "job"), statesText(status), count(status.Failed, "item")), exitOther}
	case status.Failed > 0:
		return verdict{fmt.Sprintf("%d of %s failed, as said above", status.Failed, count(status.Items, "item")), exitOther}
	}
	return foundIn(status).verdict()
}
