package manager

import (
	"context"
	"errors"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// List returns a page of the credentials of request.Scope and below. Its items
// take at most maxBytes, as size measures their msgpack. A short or even empty
// page may have a cursor: if a filter matches little, List stops searching
// after a bounded number of records.
func (r *Reader) List(ctx context.Context, request *subjects.ListRequest, maxBytes int, size func([]byte) int) (*subjects.ListReply, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	limit := pageLimit(request.Limit)
	l := &listing{
		request: request, limit: limit, size: size,
		room:  maxBytes - subjects.MaxCursorLen - 512, // cursor, revision and headers
		reply: &subjects.ListReply{Cursor: request.Cursor},
	}
	for l.scanned < 10*limit && len(l.reply.Items) < limit {
		page, err := r.listed(ctx, r.config.Store, store.ListOptions{
			Scope: request.Scope, After: l.reply.Cursor, Limit: l.ask(), Bytes: maxBytes,
		})
		if err != nil {
			return nil, err
		}
		more, err := r.take(l, page)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	end, err := r.end(ctx) // a list also shows what is missing
	l.reply.Revision = later(l.reply.Revision, end)
	return l.reply, err
}

// listing is a page of a list while pages of the store go into it.
type listing struct {
	request *subjects.ListRequest
	limit   int // most items
	room    int // bytes left for items
	size    func(msgpack []byte) int
	reply   *subjects.ListReply
	used    int // bytes of items
	scanned int // records looked at
	fits    int // how many records of the last page fit, if it must be read again; or 0
}

// ask returns how many records to request from the store: as many as probably
// hold the items that the page lacks, by the matches so far. Requesting only
// the number of lacking items would need ever smaller pages, and each page is a
// new search for the store. Requesting all would read records that the next
// request reads again.
func (l *listing) ask() int {
	if l.fits > 0 {
		return l.fits
	}
	found := len(l.reply.Items)
	if found == 0 {
		return l.limit
	}
	missing := min(l.limit-found, l.room*found/l.used+1)
	const least = 16
	return min(l.limit, max(missing*l.scanned/found, least))
}

// take adds the records of a page that pass the filters to a listing, as far as
// they fit, and sets the cursor after the last record looked at.
func (r *Reader) take(l *listing, page store.Page) (more bool, err error) {
	items, used, full := l.reply.Items, 0, false
	looked := 0
	for ; looked < len(page.Records); looked++ {
		if full = len(items) == l.limit; full {
			break
		}
		record := &page.Records[looked]
		if !matches(record, &l.request.Filter) {
			continue
		}
		item := r.item(subjects.List, record)
		bytes := l.size(subjects.Append(nil, &item))
		if full = used+bytes > l.room; full {
			break
		}
		items, used = append(items, item), used+bytes
	}
	switch {
	case !full:
		l.reply.Cursor = page.Next
	case looked == 0 && len(items) == 0:
		return false, subjects.Errorf(subjects.PayloadTooLarge, "the metadata of one credential exceeds the server's maximum payload")
	case looked == 0:
		return false, nil
	case page.CursorAt == nil:
		// A cursor exists only at the end of a page, so request a page that
		// ends here.
		l.fits = looked
		return true, nil
	default:
		l.reply.Cursor = page.CursorAt(page.Records[looked-1].Target)
	}
	l.reply.Items, l.fits = items, 0
	l.room -= used
	l.used += used
	l.scanned += max(1, looked) // an empty page costs as much as a full one
	for i := range page.Records[:looked] {
		l.reply.Revision = later(l.reply.Revision, r.config.Replica.Including(page.Records[i].Revision))
	}
	full = full || l.used > 0 && l.room < l.used/len(items) // hardly room for another
	return !full && page.Next != "", nil
}

// Describe returns what List shows of one credential. A record that cannot be
// read is no error: Damaged says why. Describe reads the store, and does not
// use the cache.
func (r *Reader) Describe(ctx context.Context, target subjects.Target) (*subjects.DescribeReply, error) {
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	found, err := r.get(ctx, r.config.Store.Get, target, subjects.Revision{}, true)
	switch {
	case errors.Is(err, store.ErrDamaged):
	case err != nil:
		return nil, err
	case found.record == nil:
		return nil, asOf(found.end, store.ErrNotFound)
	default:
		defer found.wipe()
		err = r.listable(found.record)
	}
	record := found.record
	if err != nil {
		record = &store.Record{Target: target, Damaged: err.Error()}
	}
	return &subjects.DescribeReply{
		Credential: r.item(subjects.Describe, record),
		Revision:   later(r.config.Replica.Including(record.Revision), found.end),
	}, nil
}

// listable checks a record as a list does: its metadata must be proven, for
// format 1 by opening the record.
func (r *Reader) listable(record *store.Record) error {
	if record.Data != nil || len(record.Proof) > 0 {
		return r.proven(record)
	}
	_, wipe, err := r.unseal(record)
	if err == nil {
		wipe()
	}
	return err
}

// item returns the parts of a record that lists show: all but the values.
func (r *Reader) item(command subjects.Command, record *store.Record) subjects.Credential {
	item := subjects.Credential{
		Scope: record.Scope, ID: record.ID, Version: record.Version,
		Metadata: record.Metadata,
	}
	if record.Damaged != "" {
		// The store's own error may name files and hosts.
		item.Damaged = r.explain(command, damaged(record), record.Target).Message
	}
	return item
}

func matches(record *store.Record, filter *subjects.Filter) bool {
	if !strings.HasPrefix(string(record.ID), filter.IDPrefix) {
		return false
	}
	if before := filter.ExpiresBefore; !before.IsZero() && (record.Expires.IsZero() || !record.Expires.Before(before)) {
		return false
	}
	for key, value := range filter.Tags {
		if got, ok := record.Tags[key]; !ok || got != value {
			return false
		}
	}
	return true
}
