package main

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/internal/audit"
)

func (l *auditLog) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [HASH]",
		Short: "Check that no record of an audit log was removed or changed",
		Long: `Check that no record of an audit log was removed, changed or moved: each block of records
has a hash of itself and of the block before. In a stream, each run of a worker has a chain of
its own, and no number may be missing between the blocks.

The chain has no key, so somebody who may write to the file or to the disks of the NATS servers
can cut the newest records off, or make all anew from any place on. To find that, give a HASH
that was noted elsewhere: the worker logs the newest one each hour, and when it opens, rotates
and closes the log. A block must have it.

The exit status is 1 if anything is wrong, and 3 if there is no record.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !hashForm.MatchString(args[0]) {
				return fmt.Errorf("%q is no HASH, which has 64 of 0-9 a-f: the worker's log has them", args[0])
			}
			return cobra.MaximumNArgs(1)(cmd, args)
		},
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l.p.begun = true
		expect := ""
		if len(args) > 0 {
			expect = args[0]
		}
		report, err := l.verified(cmd.Context(), expect)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			line, err := lineOf(report)
			if err == nil {
				err = writeLine(l.p.stdout, line)
			}
			if err != nil {
				return err
			}
		} else if err := l.tell(report); err != nil {
			return err
		}
		if len(report.Problems) > 0 {
			return verdict{"the audit log was changed, or is damaged: what is wrong is listed above", exitOther}
		}
		if len(report.Chains) == 0 {
			return verdict{"the audit log has no record, so there is nothing to check: if there were some, somebody has removed them", exitNotFound}
		}
		return nil
	}
	return cmd
}

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// tell prints a report for people.
func (l *auditLog) tell(report *audit.Report) error {
	for _, problem := range report.Problems {
		if err := writeLine(l.p.stdout, []byte("WRONG: "+printable(problem))); err != nil {
			return err
		}
	}
	for _, note := range report.Notes {
		l.p.say("%s", note)
	}
	for _, c := range report.Chains {
		line := fmt.Sprintf("chain %s: records %d to %d in %d blocks, %s to %s, hash %s",
			printable(c.Chain), c.First, c.Last, c.Blocks, c.From.Format(time.RFC3339), c.Until.Format(time.RFC3339), c.Hash)
		if c.Lost > 0 {
			line += fmt.Sprintf("; the worker could not write %d records", c.Lost)
		}
		if err := writeLine(l.p.stdout, []byte(line)); err != nil {
			return err
		}
	}
	return nil
}

// verified checks the log.
func (l *auditLog) verified(ctx context.Context, expect string) (report *audit.Report, err error) {
	if l.stream {
		err = l.p.withClient(ctx, nil, func(ctx context.Context, c *client.Client, _ []string) (err error) {
			report, err = audit.VerifyBlocks(blocksOf(ctx, c, time.Time{}), expect)
			return err
		})
		return report, err
	}
	sources, err := l.sources()
	if err != nil {
		return nil, err
	}
	return audit.Verify(sources, expect)
}
