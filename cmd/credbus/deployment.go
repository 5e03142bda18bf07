package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"credbus/client"
)

func (p *program) deploymentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deployment",
		Short: "Show what the workers agree on, and where their settings differ",
		Long: `Show what the workers agree on, and where their settings differ.

All workers of a deployment must keep credentials in the same stores, route the
same scopes to them, share a keyring, and speak the same version of their
protocol; a worker that does not is refused when it starts. Other settings may
differ while they are changed on one worker after the other. A fact that is the
same on all replicas is printed once; one that differs is printed for each.

"host" and "clock" are each replica's own. "clock" is how far its clock is from
that of the NATS server, one and the same for all replicas. If all of them are
off by the same, the clock of the server is wrong.

Without --all, it shows only facts that must agree, and settings that differ. If a
known replica does not answer, the command shows those that did, and the exit status
is 6.

-o json prints one JSON object with every fact of every replica.

This command is for operators. A tenant has no permission for it.`,
		Args: cobra.NoArgs,
	}
	all := cmd.Flags().Bool("all", false, "show every setting")
	format := formatFlag(cmd, asText, asJSON)
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, _ []string) error {
		deployment, err := c.Deployment(ctx)
		if err != nil {
			return err
		}
		if format.chosen == asJSON {
			err = writeJSON(p.stdout, deployment)
		} else {
			err = p.printDeployment(deployment, *all)
		}
		return errors.Join(err, missing(deployment.Missing))
	})
	return cmd
}

// ownToReplica are settings that each replica has for itself.
var ownToReplica = []string{"data_dir", "health.listen", "log.level", "log.format", "keyring.file"}

func (p *program) printDeployment(deployment *client.Deployment, all bool) error {
	table := newTable(p.stdout, "FACT", "REPLICA", "VALUE")
	for _, fact := range compared(deployment) {
		if !all && fact.same && fact.setting || !all && slices.Contains(ownToReplica, fact.name) {
			continue
		}
		for i, replica := range deployment.Replicas {
			name := replica.Replica
			if fact.same {
				name = "all"
			}
			if err := table.row(fact.name, name, fact.values[i]); err != nil {
				return err
			}
			if fact.same {
				break
			}
		}
	}
	return table.flush()
}

// comparedFact is a fact with its value on each replica, "" if a replica has none.
type comparedFact struct {
	name    string
	values  []string
	same    bool
	setting bool // of one worker; others concern the deployment
}

// compared puts the facts of all replicas side by side, in the order in which the
// replicas report them.
func compared(deployment *client.Deployment) []comparedFact {
	var facts []comparedFact
	at := make(map[string]int)
	for i, replica := range deployment.Replicas {
		settings := false
		for _, fact := range replica.Facts {
			settings = settings || fact.Name == "data_dir" // the first setting
			if _, known := at[fact.Name]; !known {
				at[fact.Name] = len(facts)
				facts = append(facts, comparedFact{name: fact.Name, values: make([]string, len(deployment.Replicas)), setting: settings})
			}
			facts[at[fact.Name]].values[i] = fact.Value
		}
	}
	for i := range facts {
		facts[i].same = len(slices.Compact(slices.Clone(facts[i].values))) == 1
	}
	return facts
}
