package manager

import (
	"context"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// pageLimit is the number of items for a request that asks for limit.
func pageLimit(limit int) int {
	if limit == 0 {
		return subjects.DefaultListItems
	}
	return limit
}

// List returns a page of the credentials of request.Scope and below. Its items
// take at most maxBytes, by the measure of size, which is given their msgpack.
// A page may be short, even empty, and have a cursor: a filter that matches
// little is not searched for without end.
func (m *Manager) List(ctx context.Context, request *subjects.ListRequest, maxBytes int, size func([]byte) int) (*subjects.ListReply, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.ReadTimeout)
	defer cancel()
	reply := &subjects.ListReply{Cursor: request.Cursor}
	limit := pageLimit(request.Limit)
	total := subjects.MaxCursorLen + 512 // cursor, revision and headers
	// Pages of the store are taken whole, since their cursor alone says where
	// to go on. One that would not fit is asked for again with half the limit.
	for scanned, ask := 0, limit; scanned < 10*limit && len(reply.Items) < limit; {
		page, err := m.config.Store.List(ctx, store.ListOptions{
			Scope: request.Scope,
			After: reply.Cursor,
			Limit: min(ask, limit-len(reply.Items)),
		})
		if err != nil {
			return nil, err
		}
		items, bytes := m.matching(page.Records, request, size)
		if total+bytes > maxBytes {
			if ask > 1 {
				ask = (ask + 1) / 2
				continue
			}
			if len(reply.Items) > 0 {
				break
			}
			return nil, subjects.Errorf(subjects.PayloadTooLarge, "the metadata of one credential passes the server's maximum payload")
		}
		reply.Items = append(reply.Items, items...)
		reply.Cursor = page.Next
		total += bytes
		scanned += max(1, len(page.Records)) // an empty page costs as much as one that is not
		for i := range page.Records {
			reply.Revision = later(reply.Revision, m.config.Replica.Including(page.Records[i].Revision))
		}
		if page.Next == "" {
			break
		}
	}
	end, err := m.end(ctx) // a list shows what is missing as well
	reply.Revision = later(reply.Revision, end)
	return reply, err
}

// matching returns those records that pass the filters, and the bytes they
// take in a reply.
func (m *Manager) matching(records []store.Record, request *subjects.ListRequest, size func([]byte) int) (items []subjects.Credential, bytes int) {
	for i := range records {
		record := &records[i]
		if !matches(record, &request.Filter) {
			continue
		}
		item := subjects.Credential{
			Scope: record.Scope, ID: record.ID, Version: record.Version,
			Metadata: record.Metadata,
		}
		if record.Damaged != "" {
			// The store's own words name files and hosts.
			item.Damaged = m.explain(subjects.List, damaged(record), subjects.Target(record.Key)).Message
		}
		items = append(items, item)
		bytes += size(subjects.Append(nil, &item))
	}
	return items, bytes
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
