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
