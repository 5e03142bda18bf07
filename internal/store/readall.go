package store

import (
	"context"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

// ReadAll reads the records of keys, atOnce at a time, for a driver whose lists
// have only names. The first failure ends the other reads. ReadAll leaves out
// records that are gone by now, for which read returns nil.
func ReadAll(ctx context.Context, keys []subjects.Target, atOnce int, read func(context.Context, subjects.Target) (*Record, error)) ([]Record, error) {
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

// ReadPage is [ReadAll] for the first keys that make a page by opts. It also
// returns how many keys these are.
func ReadPage(ctx context.Context, opts ListOptions, keys []subjects.Target, atOnce int, read func(context.Context, subjects.Target) (*Record, error)) (records []Record, n int, err error) {
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
