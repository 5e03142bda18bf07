package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// migrated is the outcome of one credential.
type migrated int

const (
	wasCopied migrated = iota // copied, and read back
	isCurrent                 // the other store has the same
	isNewer                   // the other store has a later write
	isGone                    // it was deleted meanwhile
	wasPruned                 // deleted, since the other store does not have it
)

// MigratePage copies a page of the credentials of request.Scope and below from
// one store to another, or deletes from the second those that the first does
// not have.
//
//	read from ─► read to ─┬─ the same, or newer ─► left
//	                      └─ older, or none ─► put on condition that to is still so ─► read back, compare
//
// A copy has the values, the metadata, the write id and the revision of its
// original, so that a client that has seen one gets no older answer from the
// other. Its version is that of the second store. Nothing is copied to a store
// that serves reads of the scope: credentials deleted there since would come
// back.
func (m *Maintainer) MigratePage(ctx context.Context, request *subjects.MigrateRequest) (*subjects.MigrateReply, error) {
	from, err := m.storeOf("from", request.From)
	if err != nil {
		return nil, err
	}
	to, err := m.storeOf("to", request.To)
	switch {
	case err != nil:
		return nil, err
	case request.From == request.To:
		return nil, subjects.Errorf(subjects.InvalidArgument, "from and to are the same store %q: name two", request.From)
	case slices.Contains(m.migrating.Routed(request.Scope), request.To):
		return nil, subjects.Errorf(subjects.InvalidArgument,
			"the workers already keep credentials of this scope in %q: first copy to a store, then route the scope to it (store.routes)", request.To)
	}
	source := from
	work := func(ctx context.Context, record *store.Record) (migrated, error) {
		return m.migrate(ctx, from, to, record.Target)
	}
	if request.Prune {
		source = to
		work = func(ctx context.Context, record *store.Record) (migrated, error) {
			return m.prune(ctx, from, to, record)
		}
	}
	page, err := m.page(ctx, source.store, request.Scope, request.Paging)
	if err != nil {
		return nil, source.told(err)
	}
	reply := &subjects.MigrateReply{Cursor: page.Next}
	counters := map[migrated]*int64{wasCopied: &reply.Copied, isCurrent: &reply.Current, isNewer: &reply.Newer, isGone: &reply.Gone, wasPruned: &reply.Pruned}
	reply.Remaining, reply.Failed = m.eachRecord(ctx, subjects.Migrate, page.Records, func(ctx context.Context, record *store.Record) (add func(), err error) {
		if record.Damaged != "" {
			return nil, source.told(damaged(record))
		}
		done, err := work(ctx, record)
		return func() { *counters[done]++ }, err
	})
	return reply, nil
}

// storeOf returns the store that a field of a request names.
func (m *Maintainer) storeOf(field, name string) (named, error) {
	if s, ok := m.migrating.Stores[name]; ok {
		return named{s, name}, nil
	}
	names := slices.Sorted(maps.Keys(m.migrating.Stores))
	return named{}, subjects.Errorf(subjects.InvalidArgument, "%s is %q: the stores of this worker are %s (stores, in its configuration)", field, name, strings.Join(names, ", "))
}

// named is one of the two stores of a migration. Its errors name the store.
type named struct {
	store store.Store
	name  string
}

func (s named) told(err error) error {
	if err == nil {
		return nil
	}
	return ofStore{s.name, err}
}

// ofStore adds the name of a store to its error. The caller may see the name,
// since the request contains it.
type ofStore struct {
	name string
	err  error
}

func (e ofStore) Error() string { return e.where() + e.err.Error() }

func (e ofStore) where() string { return "store " + e.name + ": " }

func (e ofStore) Unwrap() error { return e.err }

// migrateTries bounds the tries for a credential that others write meanwhile,
// or whose copy a store that lags does not show yet.
const migrateTries = 5

func (m *Maintainer) migrate(ctx context.Context, from, to named, key subjects.Target) (migrated, error) {
	for try := 1; ; try++ {
		done, err := m.migrateOnce(ctx, from, to, key)
		overtaken := errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound)
		if overtaken && try < migrateTries {
			continue // somebody else wrote: read it again
		}
		return done, err
	}
}

func (m *Maintainer) migrateOnce(ctx context.Context, from, to named, key subjects.Target) (migrated, error) {
	original, data, wipe, err := m.opened(ctx, from.store, key)
	if errors.Is(err, store.ErrNotFound) {
		return isGone, nil
	}
	if err != nil {
		return 0, from.told(err)
	}
	defer wipe()
	var pre store.Precondition
	there, same, err := m.compare(ctx, to, original, data)
	switch {
	case errors.Is(err, store.ErrNotFound):
		pre.Absent = true
	case errors.Is(err, store.ErrDamaged):
		pre.Present = true // replace a record that cannot be read
	case err != nil:
		return 0, err
	case same:
		return isCurrent, nil
	case m.proven(there) == nil && newer(there, original):
		return isNewer, nil
	default:
		pre.Version = there.Version
	}
	copied := *original
	copied.Payload, copied.Proof, copied.Data, copied.Version = nil, nil, nil, ""
	if copied.WriteID == "" {
		copied.WriteID = rand.Text() // another program wrote it
	}
	if store.IsNative(to.store, key.Scope) {
		copied.Data = data
	} else if err := m.seal(&copied, data); err != nil {
		return 0, err
	}
	if err := m.putCopy(ctx, to, &copied, pre); err != nil {
		return 0, err
	}
	return wasCopied, m.verify(ctx, to, original, data)
}

func (m *Maintainer) putCopy(ctx context.Context, to named, record *store.Record, pre store.Precondition) error {
	ctx, cancel := context.WithTimeout(ctx, m.writer.writing.WriteTimeout)
	defer cancel()
	_, err := to.store.Put(ctx, record, pre)
	return to.told(err)
}

// verify reads a copy back, again if the store does not show the write yet.
func (m *Maintainer) verify(ctx context.Context, to named, original *store.Record, data subjects.Data) error {
	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		_, same, err := m.compare(ctx, to, original, data)
		switch {
		case same:
			return nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		case try == migrateTries:
			return to.told(errCopy)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

var errCopy = errors.New("the copy was written, but reads back differently from its original: migrate again")

// compare reports whether a store has the same as original, whose values are
// data, and returns what the store has. A record that does not open is not the
// same.
func (m *Maintainer) compare(ctx context.Context, s named, original *store.Record, data subjects.Data) (there *store.Record, same bool, err error) {
	there, values, wipe, err := m.opened(ctx, s.store, original.Target)
	if errors.Is(err, seal.ErrDecrypt) || errors.Is(err, errPayload) {
		return there, false, nil
	}
	if err != nil {
		return nil, false, s.told(err)
	}
	defer wipe()
	return there, sameMetadata(there.Metadata, original.Metadata) && sameData(values, data), nil
}

// opened reads a record and its values, in whatever form the store has them. If
// the record does not open, opened returns it with the error.
func (r *records) opened(ctx context.Context, s store.Store, key subjects.Target) (record *store.Record, data subjects.Data, wipe func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	record, err = checked(s.Get(ctx, key))
	if err != nil {
		return nil, nil, nil, err
	}
	data, wipe, err = r.unseal(record)
	return record, data, wipe, err
}

// sameMetadata compares the metadata that a copy keeps: all but the time of
// creation, which each store sets itself.
func sameMetadata(a, b subjects.Metadata) bool {
	return sameContent(a, b) && a.Modified.Equal(b.Modified)
}

// sameContent compares the metadata that a request may set.
func sameContent(a, b subjects.Metadata) bool {
	return a.Description == b.Description && maps.Equal(a.Tags, b.Tags) && a.RotationDays == b.RotationDays &&
		a.Inheritable == b.Inheritable && a.Expires.Equal(b.Expires)
}

func sameData(a, b subjects.Data) bool {
	return maps.EqualFunc(a, b, func(a, b subjects.Secret) bool { return bytes.Equal(a.Bytes(), b.Bytes()) })
}

// newer reports whether a was written later than b.
func newer(a, b *store.Record) bool {
	if !a.Revision.IsZero() && !b.Revision.IsZero() {
		return a.Revision.Compare(b.Revision) > 0
	}
	return a.Modified.After(b.Modified)
}

// prune deletes a record that from does not have.
func (m *Maintainer) prune(ctx context.Context, from, to named, record *store.Record) (migrated, error) {
	read, cancel := context.WithTimeout(ctx, m.config.ReadTimeout)
	defer cancel()
	original, err := from.store.Get(read, record.Target)
	switch {
	case err == nil:
		original.Data.Wipe()
		return isCurrent, nil
	case errors.Is(err, store.ErrDamaged):
		return isCurrent, nil // from has it
	case !errors.Is(err, store.ErrNotFound):
		return 0, from.told(err)
	}
	write, cancel := context.WithTimeout(ctx, m.writer.writing.WriteTimeout)
	defer cancel()
	err = to.store.Delete(write, record.Target, store.Precondition{Version: record.Version})
	if errors.Is(err, store.ErrNotFound) {
		return isGone, nil
	}
	return wasPruned, to.told(err)
}
