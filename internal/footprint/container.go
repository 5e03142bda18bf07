package main

import (
	"context"
	"fmt"

	"credbus/subjects"
)

// Reads under a memory limit. So many reads of this size once killed a worker with
// default settings in a container of 512 MiB.
const (
	containerLimit  = 512 * mib
	containerReads  = 2000
	containerValue  = 60_000
	containerRounds = 3
)

// measureContainer makes a worker read large credentials under the memory limit
// that it would take from the cgroup of such a container.
func measureContainer(ctx context.Context, o options) error {
	reads := min(containerReads, o.entries)
	p, err := start(ctx, o, []string{fmt.Sprint("GOMEMLIMIT=", int64(containerLimit)/10*9)})
	if err != nil {
		return err
	}
	defer p.close()
	idle := p.settle()
	if err := p.store(ctx, reads, func(i int) subjects.StoreItem {
		return subjects.StoreItem{Target: subjects.Target{ID: idAt(i)}, Data: value(containerValue)}
	}); err != nil {
		return err
	}
	for range containerRounds {
		if err := each(ctx, reads, 256, func(ctx context.Context, i int) error {
			return p.must(ctx, subjects.Retrieve, retrieve(idAt(i), false))
		}); err != nil {
			return err
		}
	}
	peak := p.most.Load()
	fmt.Printf("container limit=%dMiB reads=%d value=%d rounds=%d rss_idle=%dMiB rss_peak=%dMiB\n",
		int64(containerLimit)/mib, reads, containerValue, containerRounds, idle/mib, peak/mib)
	if peak > containerLimit {
		return fmt.Errorf("the worker took %d MiB of %d: a container would have killed it", peak/mib, int64(containerLimit)/mib)
	}
	return nil
}
