package manager

import (
	"context"
	"fmt"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// pageBytes is roughly the most memory that the records of a page take, if the
// store can limit it.
const pageBytes = 1 << 20

// page lists a page of a scope and below, for the commands that work on all
// stored credentials.
func (r *records) page(ctx context.Context, from store.Store, scope subjects.Scope, paging subjects.Paging) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	return from.List(ctx, store.ListOptions{
		Scope: scope, After: paging.Cursor, Limit: min(pageLimit(paging.Limit), r.config.BatchItems), Bytes: pageBytes,
	})
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

// pageLimit returns the number of items on a page for a request with limit.
func pageLimit(limit int) int {
	if limit == 0 {
		return subjects.DefaultListItems
	}
	return limit
}
