package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// askBehind has one client write and another one read from a backend that is behind, as
// a standby or an eventually consistent service is. The manager judges each answer of
// such a store, and asks again until one is no older than the last write
// (internal/manager/lag.go). For that it needs of a driver
//
//   - answers that are whole: what one write left, never the values of one with the
//     version, revision or metadata of another,
//   - to tell an old answer from the newest: by store.Ordered, or else by the revision,
//   - no write on a precondition that only held before.
func askBehind(s *subject) {
	if s.Behind == nil {
		s.Skip("reads of this store are never behind")
	}
	writer, reader, catchUp := s.Behind(s.T)
	b := &behind{writer: *s, reader: *s, catchUp: catchUp, states: make(map[string]*store.Record)}
	b.writer.Store, b.reader.Store = writer, reader
	key := keyOf("org:acme", "key")
	for range 2 { // the second time it was deleted before
		b.write(key)
		b.look(key)
		b.current(key)
		for range 3 {
			b.write(key)
			for range 3 {
				b.look(key)
			}
		}
		b.current(key)
		b.writer.remove(key)
		b.newest = nil
		b.look(key)
		b.current(key)
	}
	if b.old == 0 {
		s.Fatal("no answer was old: the harness's reader is not behind, and nothing was asked")
	}
	b.order()
	b.preconditions(key)
}

// behind is a key that one client writes and another one reads.
type behind struct {
	writer, reader subject
	catchUp        func()
	seq            uint64
	states         map[string]*store.Record // what was ever there, by version
	versions       []string                 // of states, in the order of the writes
	newest         *store.Record            // nil: deleted, or never there
	old            int                      // records that were answered and were
}

func (b *behind) write(key store.Key) {
	b.seq++
	rec := b.writer.record(key)
	rec.Revision = subjects.Revision{Stream: 1, Seq: b.seq}
	rec.Description = fmt.Sprint("write ", b.seq)
	rec.Modified = epoch.Add(time.Duration(b.seq) * time.Second)
	if b.newest != nil {
		rec.Created = b.newest.Created
	}
	rec.Version = b.writer.put(rec, store.Precondition{})
	b.newest, b.states[rec.Version] = rec, rec
	b.versions = append(b.versions, rec.Version)
}

// look reads in every way and judges each answer.
func (b *behind) look(key store.Key) {
	b.reader.Helper()
	for _, found := range b.reader.founds(key) {
		switch {
		case found.Err == nil:
			b.judge(found.Record, true)
		case errors.Is(found.Err, store.ErrNotFound): // as it was, or is
		case errors.Is(found.Err, store.ErrUnavailable): // it saw halves of two states, and says so
		default:
			b.reader.Errorf("a read that is behind: %v", found.Err)
		}
	}
	for _, rec := range b.reader.walk(key.Scope, 10) {
		b.judge(&rec, false)
	}
}

func (b *behind) judge(got *store.Record, whole bool) {
	b.reader.Helper()
	state := b.states[got.Version]
	if state == nil {
		b.reader.Errorf("an answer has version %q, which no write had", got.Version)
		return
	}
	b.reader.same(got, state, got.Version)
	if diff := diffValues(got, state); whole && diff != "" {
		b.reader.Errorf("an answer with the version of write %d has not its values: %s", state.Revision.Seq, diff)
	}
	if state == b.newest {
		return
	}
	if b.old++; b.newest == nil {
		return // the manager knows the revision of the delete, which is later
	}
	ordered, ok := b.reader.Store.(store.Ordered)
	if ok {
		newer, known := ordered.Newer(got.Version, b.newest.Version)
		if known && newer {
			b.reader.Errorf("the version of write %d is called newer than that of write %d", state.Revision.Seq, b.newest.Revision.Seq)
		}
		if known {
			return
		}
	}
	if got.Revision.Compare(b.newest.Revision) >= 0 {
		b.reader.Errorf("nothing tells write %d from write %d, which came later: ordered %t, revisions %v and %v", state.Revision.Seq, b.newest.Revision.Seq, ok, got.Revision, b.newest.Revision)
	}
}

// current has the reader catch up: then its answers are the newest.
func (b *behind) current(key store.Key) {
	b.reader.Helper()
	b.catchUp()
	if b.newest == nil {
		b.reader.missing(key)
		return
	}
	b.reader.holds(b.newest, b.newest.Version)
}

// order sees that an Ordered orders all versions there were, and nothing else.
func (b *behind) order() {
	ordered, ok := b.reader.Store.(store.Ordered)
	if !ok {
		return
	}
	for i, first := range b.versions {
		for j, second := range b.versions {
			if newer, known := ordered.Newer(second, first); known && newer != (j > i) {
				b.reader.Errorf("version %q of write %d is newer than %q of write %d: %t", second, j+1, first, i+1, newer)
			}
		}
		for _, garbage := range []string{"", "garbage", "1", "-", first + "x"} {
			_, one := ordered.Newer(garbage, first)
			_, other := ordered.Newer(first, garbage)
			if one || other {
				b.reader.Errorf("%q, which is no version, is ordered with %q", garbage, first)
			}
		}
	}
}

// preconditions are judged by what is there, or refused.
func (b *behind) preconditions(key store.Key) {
	if b.reader.Features.RacyPreconditions {
		return
	}
	const patience = 300 * time.Millisecond // a driver may try until the reader has caught up
	b.write(key)
	b.current(key)
	before := b.newest.Version
	b.write(key)
	absent := keyOf("org:acme", "absent")
	there := b.writer.record(absent)
	there.Version = b.writer.put(there, store.Precondition{})
	for name, write := range map[string]func(context.Context) error{
		"a write on the version of before": func(ctx context.Context) error {
			_, err := b.reader.Put(ctx, b.reader.record(key), store.Precondition{Version: before})
			return err
		},
		"a delete on the version of before": func(ctx context.Context) error {
			return b.reader.Delete(ctx, key, store.Precondition{Version: before})
		},
		"creating what the reader does not see": func(ctx context.Context) error {
			_, err := b.reader.Put(ctx, b.reader.record(absent), store.Precondition{Absent: true})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(b.reader.ctx, patience)
		if err := write(ctx); err == nil {
			b.reader.Errorf("%s took effect", name)
		}
		cancel()
	}
	b.writer.holds(b.newest, b.newest.Version)
	b.writer.holds(there, there.Version)
}
