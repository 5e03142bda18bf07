package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// askBehind lets one client write and another one read from a backend that is
// behind, such as a standby or an eventually consistent service. The manager
// checks each answer of such a store, and reads again until one is no older
// than the last write (internal/manager/lag.go). For that, a driver must give
//
//   - whole answers: the state after one write, never the values of one with
//     the version, revision or metadata of another,
//   - an order of answers: by store.Ordered, or by the revision,
//   - no write with a precondition that held only before.
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
		s.Fatal("no answer was old: the harness's reader is not behind, so this tested nothing")
	}
	b.order()
	b.preconditions(key)
}

// behind is a key that one client writes and another reads.
type behind struct {
	writer, reader subject
	catchUp        func()
	seq            uint64
	states         map[string]*store.Record // all states so far, by version
	versions       []string                 // of states, in the order of the writes
	newest         *store.Record            // nil: deleted or never made
	old            int                      // number of old records in answers
}

func (b *behind) write(key subjects.Target) {
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

// look reads in every way and checks each answer.
func (b *behind) look(key subjects.Target) {
	b.reader.Helper()
	for _, found := range b.reader.founds(key) {
		switch {
		case found.Err == nil:
			b.judge(found.Record, true)
		case errors.Is(found.Err, store.ErrNotFound): // an old or the current state
		case errors.Is(found.Err, store.ErrUnavailable): // the driver saw halves of two states and reports it
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
		b.reader.Errorf("an answer with the version of write %d does not have its values: %s", state.Revision.Seq, diff)
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
		b.reader.Errorf("nothing distinguishes write %d from the later write %d: ordered %t, revisions %v and %v", state.Revision.Seq, b.newest.Revision.Seq, ok, got.Revision, b.newest.Revision)
	}
}

// current lets the reader catch up, so that its answers are the newest.
func (b *behind) current(key subjects.Target) {
	b.reader.Helper()
	b.catchUp()
	if b.newest == nil {
		b.reader.missing(key)
		return
	}
	b.reader.holds(b.newest, b.newest.Version)
}

// order checks that an Ordered orders all versions so far, and nothing else.
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
				b.reader.Errorf("%q, which is not a version, is ordered with %q", garbage, first)
			}
		}
	}
}

// preconditions checks that the driver checks preconditions against the current
// state, or refuses the write.
func (b *behind) preconditions(key subjects.Target) {
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
		"a write with the old version": func(ctx context.Context) error {
			_, err := b.reader.Put(ctx, b.reader.record(key), store.Precondition{Version: before})
			return err
		},
		"a delete with the old version": func(ctx context.Context) error {
			return b.reader.Delete(ctx, key, store.Precondition{Version: before})
		},
		"creating a record that the reader does not see": func(ctx context.Context) error {
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
