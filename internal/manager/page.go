package manager

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// pageBytes is about how much memory the records of a page take at most, where
// the store can obey.
const pageBytes = 1 << 20

// page lists a page of a scope and below, for the commands that work on all
// that is stored there.
func (m *Manager) page(ctx context.Context, from store.Store, scope subjects.Scope, paging subjects.Paging) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.ReadTimeout)
	defer cancel()
	return from.List(ctx, store.ListOptions{
		Scope: scope, After: paging.Cursor, Limit: min(pageLimit(paging.Limit), m.config.BatchItems), Bytes: pageBytes,
	})
}

// eachRecord works on the records of a page, some at a time. What work returns
// adds its outcome to the reply; one call follows the other. Records that are not
// begun when three quarters of the time of ctx have passed are left, and counted
// as remaining.
func (m *Manager) eachRecord(ctx context.Context, command subjects.Command, records []store.Record,
	work func(context.Context, *store.Record) (add func(), err error),
) (remaining int64, failed []subjects.Error) {
	var leave time.Time
	if deadline, ok := ctx.Deadline(); ok {
		leave = deadline.Add(-time.Until(deadline) / 4)
	}
	outcomes := make([]func(), len(records))
	var group errgroup.Group
	group.SetLimit(m.config.BatchConcurrency)
	for i := range records {
		group.Go(func() error {
			record := &records[i]
			if !leave.IsZero() && time.Now().After(leave) || ctx.Err() != nil {
				outcomes[i] = func() { remaining++ }
				return nil
			}
			err := runItem(func() (err error) {
				outcomes[i], err = work(ctx, record)
				return err
			})
			if err != nil {
				told := *m.explain(command, err, subjects.Target(record.Key))
				told.Revision = subjects.Revision{}
				outcomes[i] = func() { failed = append(failed, told) }
			}
			return nil
		})
	}
	_ = group.Wait() // no item returns an error to the group
	for _, outcome := range outcomes {
		outcome()
	}
	return remaining, failed
}

// damaged is the error of a record of a page that cannot be read.
func damaged(record *store.Record) error {
	if record.Damaged == seal.ErrDecrypt.Error() {
		return seal.ErrDecrypt
	}
	if record.Damaged == errFormat.Error() {
		return errFormat
	}
	return fmt.Errorf("%w: %s", store.ErrDamaged, record.Damaged)
}
