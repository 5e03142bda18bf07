package main

import (
	"context"
	"fmt"
	"strconv"

	"credbus/subjects"
)

// cacheLimit is how much memory a worker with 100,000 entries of 1 KiB may take,
// its embedded server included.
const cacheLimit = 300 * mib

// measureCache fills a cache by reads, and goes on reading.
func measureCache(ctx context.Context, o options) error {
	p, err := start(ctx, o, nil, "--cache.entries", strconv.Itoa(o.entries), "--cache.bytes", "256MiB", "--cache.ttl", "1h")
	if err != nil {
		return err
	}
	defer p.close()
	idle := p.settle()
	if err := p.store(ctx, o.entries, func(i int) subjects.StoreItem {
		return subjects.StoreItem{Target: subjects.Target{ID: idAt(i)}, Data: value(1 << 10)}
	}); err != nil {
		return err
	}
	stored := p.settle()
	if o.restart { // memory that the writes still hold is not the cache's
		p.halt()
		if err := p.launch(ctx); err != nil {
			return err
		}
	}
	for round := range o.rounds {
		if err := each(ctx, o.entries, 64, func(ctx context.Context, i int) error {
			return p.must(ctx, subjects.Retrieve, retrieve(idAt(i), false))
		}); err != nil {
			return err
		}
		if round == 0 || round == o.rounds-1 {
			fmt.Printf("cache entries=%d value=1KiB round=%d rss_idle=%dMiB rss_stored=%dMiB rss=%dMiB rss_peak=%dMiB\n",
				o.entries, round+1, idle/mib, stored/mib, p.resident()/mib, p.most.Load()/mib)
		}
	}
	peak := p.most.Load()
	settled := p.settle()
	fmt.Printf("cache entries=%d rounds=%d rss_settled=%dMiB rss_peak=%dMiB limit=%dMiB\n", o.entries, o.rounds, settled/mib, peak/mib, int64(cacheLimit)/mib)
	if settled > cacheLimit {
		return fmt.Errorf("the worker takes %d MiB, %d are allowed", settled/mib, int64(cacheLimit)/mib)
	}
	return nil
}
