package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

// errMissingReplicas is wrapped by the error that names replicas that did not
// answer.
var errMissingReplicas = errors.New("no answer from replicas")

func (p *program) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or clear the caches of all replicas",
	}
	cmd.AddCommand(p.cacheStatsCommand(), p.cacheClearCommand())
	return cmd
}

func (p *program) cacheStatsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [SCOPE]",
		Short: "Show entries and hit rate of the cache of each replica",
		Long: `Show what each replica has cached of a scope and the scopes below it: the number
of entries, and the bytes of their values. NEGATIVE counts the entries that say that
a credential does not exist. TRUSTED says whether the replica answers from its cache.

Without a scope, show the counters of each replica's cache since it started, and its
HOST. STORES is ok, or names the stores that fail: since when, with which error, and
which calls they refuse (reads, writes or all). This is for operators. A tenant has
no permission for it.

If a known replica does not answer, the command shows those that did, and the exit
status is 6.

-o json prints one JSON object.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		if len(args) == 0 {
			return p.statistics(ctx, c, format.chosen)
		}
		stats, err := c.CacheStats(ctx, target(args).Scope)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			err = writeJSON(p.stdout, stats)
		} else {
			err = p.printStats(stats)
		}
		return errors.Join(err, missing(stats.Missing))
	})
	return cmd
}

func (p *program) printStats(stats *client.CacheStats) error {
	table := newTable(p.stdout, "REPLICA", "ENTRIES", "NEGATIVE", "BYTES", "TRUSTED")
	for _, r := range stats.Replicas {
		if err := table.row(r.Replica, number(r.Entries), number(r.Negative), number(r.Bytes), strconv.FormatBool(r.Trusted)); err != nil {
			return err
		}
	}
	return table.flush()
}

func (p *program) statistics(ctx context.Context, c *client.Client, format string) error {
	stats, err := c.Statistics(ctx)
	if err != nil {
		return err
	}
	if format == asJSON {
		err = writeJSON(p.stdout, stats)
	} else {
		err = p.printStatistics(stats)
	}
	return errors.Join(err, missing(stats.Missing))
}

func (p *program) printStatistics(stats *client.Statistics) error {
	table := newTable(p.stdout, "REPLICA", "HOST", "HITS", "MISSES", "HIT RATE", "EVICTIONS", "EXPIRED", "REFUSED",
		"ENTRIES", "NEGATIVE", "CAPACITY", "BYTES", "MAX BYTES", "TRUST", "STORES")
	for i := range stats.Replicas {
		r := &stats.Replicas[i]
		cells := []string{r.Replica, r.Host, number(r.Hits), number(r.Misses), fmt.Sprintf("%.1f%%", 100*r.HitRate())}
		for _, n := range []int64{r.Evictions, r.Expired, r.Refused, r.Entries, r.Negative, r.Capacity, r.Bytes, r.MaxBytes} {
			cells = append(cells, number(n))
		}
		if err := table.row(append(cells, r.Trust, stores(r.Stores))...); err != nil {
			return err
		}
	}
	return table.flush()
}

// stores is the state of a replica's stores, in one cell.
func stores(states []subjects.StoreState) string {
	var failing []string
	for _, s := range states {
		if s.State != subjects.StoreOK {
			why := string(s.Error)
			if s.Refuses != "" {
				why += ", refuses " + s.Refuses
			}
			failing = append(failing, fmt.Sprintf("%s %s since %s (%s)", s.Name, s.State, shown(s.Since), why))
		}
	}
	if len(states) > 0 && len(failing) == 0 {
		return subjects.StoreOK
	}
	return strings.Join(failing, ", ") // empty if the worker does not report them
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func (p *program) cacheClearCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clear [SCOPE [ID]]",
		Short: "Drop what all replicas have cached",
		Long: `Drop what all replicas have cached: everything, a scope and the scopes below it,
or one credential. Writes through workers need no clearing. Use it after somebody
changed a store without the workers. It prints the replicas that cleared. If a known
replica does not confirm it, the exit status is 6.`,
		Args:              names(0, 2),
		ValidArgsFunction: p.completeNames(2),
	}
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		target := target(args)
		cleared, err := c.ClearCache(ctx, target.Scope, target.ID)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			err = writeJSON(p.stdout, cleared)
		} else {
			for _, replica := range cleared.Replicas {
				_, failed := fmt.Fprintln(p.stdout, "cleared", replica)
				err = errors.Join(err, failed)
			}
		}
		return errors.Join(err, missing(cleared.Missing))
	})
	return cmd
}

func missing(replicas []string) error {
	if len(replicas) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errMissingReplicas, strings.Join(replicas, ", "))
}
