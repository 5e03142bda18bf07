package store

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// ReadAll reads the records of keys, atOnce at a time, for a driver whose lists
// have names only. The first failure ends the other reads. Those that are gone by
// now, of which read returns nil, are left out.
func ReadAll(ctx context.Context, keys []Key, atOnce int, read func(context.Context, Key) (*Record, error)) ([]Record, error) {
	found := make([]*Record, len(keys))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(atOnce)
	for i, key := range keys {
		reads.Go(func() (err error) {
			found[i], err = read(ctx, key)
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(found))
	for _, rec := range found {
		if rec != nil {
			records = append(records, *rec)
		}
	}
	return records, nil
}

// ReadPage is [ReadAll] of as many of keys as make a page by opts, and tells how
// many those are.
func ReadPage(ctx context.Context, opts ListOptions, keys []Key, atOnce int, read func(context.Context, Key) (*Record, error)) (records []Record, n int, err error) {
	bytes := 0
	for n < len(keys) && (len(records) == 0 || !opts.Full(len(records), bytes)) {
		some := keys[n:min(n+2*atOnce, len(keys))]
		more, err := ReadAll(ctx, some, atOnce, read)
		if err != nil {
			return nil, 0, err
		}
		for i := range more {
			bytes += more[i].Size()
		}
		records = append(records, more...)
		n += len(some)
	}
	return records, n, nil
}
