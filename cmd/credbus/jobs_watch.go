package main

import (
	"context"
	"encoding/json"
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
		Use:   "watch SCOPE BATCH",
		Short: "Follow a batch until all its jobs have ended",
		Long: `Follow a batch until all its jobs have ended: with a bar on a terminal, and
elsewhere with a line whenever the state of a job changes. The items that failed
are then named on stderr. The exit status is 0 when every item of every job has
succeeded, and 1 when not.

-o json prints one JSON object for each line.`,
		Args:              jobName,
		ValidArgsFunction: p.completeJobs(client.JobListOptions{}, batchOf),
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		return hinted(p.watchBatch(ctx, c.Batch(client.Scope(args[0]), client.ID(args[1])), format))
	})
	return cmd
}

// watchBatch follows a batch to its end, and makes the exit status of it.
func (p *program) watchBatch(ctx context.Context, b *client.Batch, format *format) error {
	watching, err := b.Watch(ctx)
	if err != nil {
		return err
	}
	var last client.BatchStatus
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
		if err := p.printBatch(&status, format); err != nil {
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
	return batchVerdict(&last)
}

// expectedItems are those that are counted, and a full job for each that is not
// begun.
func expectedItems(status *client.BatchStatus) int {
	n := status.Items
	for i := range status.Jobs {
		if job := &status.Jobs[i]; job.Items == 0 && !job.State.Ended() {
			n += subjects.MaxBatchItems
		}
	}
	return n
}

// batchLine is a line of credbus jobs watch -o json.
type batchLine struct {
	Scope     client.Scope            `json:"scope"`
	Batch     client.ID               `json:"batch"`
	Jobs      int                     `json:"jobs"`
	States    map[client.JobState]int `json:"states"`
	Missing   int                     `json:"missing,omitempty"`
	Items     int                     `json:"items"`
	Succeeded int                     `json:"succeeded"`
	Failed    int                     `json:"failed"`
	Ended     bool                    `json:"ended"`
}

func (p *program) printBatch(status *client.BatchStatus, format *format) error {
	if format.chosen == asJSON {
		line, err := json.Marshal(batchLine{
			status.Scope, status.ID, len(status.Jobs), status.States, status.Missing,
			status.Items, status.Succeeded, status.Failed, status.Ended(),
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", line)
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "%s  %s  %s; %d succeeded, %d failed, of %d items\n",
		shown(time.Now()), client.Target{Scope: status.Scope, ID: status.ID}, statesText(status), status.Succeeded, status.Failed, status.Items)
	return err
}

// statesText counts the jobs by state.
func statesText(status *client.BatchStatus) string {
	var counts []string
	for _, state := range []client.JobState{client.JobAccepted, client.JobRunning, client.JobDone, client.JobFailed, client.JobCancelled} {
		if n := status.States[state]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if status.Missing > 0 {
		counts = append(counts, fmt.Sprintf("%d missing", status.Missing))
	}
	return fmt.Sprintf("%d jobs: %s", len(status.Jobs), strings.Join(counts, ", "))
}

// maxFailures bounds how many items are named.
const maxFailures = 20

func (p *program) sayFailures(ctx context.Context, b *client.Batch, failed int) error {
	told := 0
	for result, err := range b.Results(ctx) {
		if err != nil {
			return err
		}
		if result.Err == nil || result.Pending {
			continue
		}
		if told++; told > maxFailures {
			p.say("%d more items failed: credbus jobs show has all of a job", failed-maxFailures)
			break
		}
		p.say("%s: %s: %s", result.Target, result.Err.Code, result.Err.Message)
	}
	return nil
}

// batchVerdict is nil when all has succeeded.
func batchVerdict(status *client.BatchStatus) error {
	switch unfinished := len(status.Jobs) - status.States[client.JobDone]; {
	case unfinished > 0:
		return verdict{fmt.Sprintf("%d of %d jobs did not come to their end (%s), and %d items failed: credbus jobs list says why",
			unfinished, len(status.Jobs), statesText(status), status.Failed), exitOther}
	case status.Failed > 0:
		return verdict{fmt.Sprintf("%d of %d items failed, as said above", status.Failed, status.Items), exitOther}
	}
	return nil
}
