package storetest

import (
	"errors"

	"credbus/internal/store"
	"credbus/subjects"
)

// askPreconditions tries every precondition in every state. A refused write
// must leave no trace.
func askPreconditions(s *subject) {
	const stale, current, never = "stale", "current", "a-version-that-never-was"
	for _, state := range []struct {
		name    string
		prepare func(key subjects.Target) (rec *store.Record, stale string)
	}{
		{"never written", func(subjects.Target) (*store.Record, string) { return nil, "" }},
		{"written once", func(key subjects.Target) (*store.Record, string) {
			rec := s.record(key)
			rec.Version = s.put(rec, store.Precondition{})
			return rec, ""
		}},
		{"replaced", func(key subjects.Target) (*store.Record, string) {
			old := s.put(s.record(key), store.Precondition{})
			rec := s.record(key)
			rec.Version = s.put(rec, store.Precondition{})
			return rec, old
		}},
		{"deleted", func(key subjects.Target) (*store.Record, string) {
			old := s.put(s.record(key), store.Precondition{})
			s.remove(key)
			return nil, old
		}},
		{"created again", func(key subjects.Target) (*store.Record, string) {
			old := s.put(s.record(key), store.Precondition{})
			s.remove(key)
			rec := s.record(key)
			rec.Version = s.put(rec, store.Precondition{})
			return rec, old
		}},
	} {
		for _, want := range []struct {
			pre             store.Precondition
			present, absent error // the errors of Put with and without a record
		}{
			{store.Precondition{}, nil, nil},
			{store.Precondition{Absent: true}, store.ErrExists, nil},
			{store.Precondition{Present: true}, nil, store.ErrNotFound},
			{store.Precondition{Version: current}, nil, nil},
			{store.Precondition{Version: stale}, store.ErrConflict, store.ErrNotFound},
			{store.Precondition{Version: never}, store.ErrConflict, store.ErrNotFound},
		} {
			for _, deleting := range []bool{false, true} {
				key := keyOf("org:acme", "key")
				rec, old := state.prepare(key)
				pre := want.pre
				switch {
				case pre.Version == current && rec == nil, pre.Version == stale && old == "":
					// This state has no version.
				default:
					if pre.Version == current {
						pre.Version = rec.Version
					}
					if pre.Version == stale {
						pre.Version = old
					}
					wantErr := want.absent
					if rec != nil {
						wantErr = want.present
					}
					s.tryPrecondition(state.name, key, rec, pre, wantErr, deleting)
				}
				s.Delete(s.ctx, key, store.Precondition{})
			}
		}
	}
}

func (s *subject) tryPrecondition(state string, key subjects.Target, rec *store.Record, pre store.Precondition, wantErr error, deleting bool) {
	s.Helper()
	if deleting {
		if rec == nil && wantErr == nil {
			wantErr = store.ErrNotFound
		}
		err := s.Delete(s.ctx, key, pre)
		if !errors.Is(err, wantErr) {
			s.Errorf("Delete of a key %s, with %+v: %v, want %v", state, pre, err, wantErr)
		}
		if wantErr == nil || rec == nil {
			s.missing(key)
		} else {
			s.holds(rec, rec.Version)
		}
		return
	}
	next := s.record(key)
	version, err := s.Put(s.ctx, next, pre)
	if !errors.Is(err, wantErr) {
		s.Errorf("Put of a key %s, with %+v: %v, want %v", state, pre, err, wantErr)
	}
	switch {
	case wantErr == nil:
		s.holds(next, version)
	case rec == nil:
		s.missing(key)
	default:
		s.holds(rec, rec.Version)
	}
	if err != nil && version != "" {
		s.Errorf("Put returned the version %q beside the error %v", version, err)
	}
}

// askVersions checks that no version of a key comes back: a caller with an old
// one would replace a record that it never saw.
func askVersions(s *subject) {
	key := keyOf("org:acme", "key")
	seen := make(map[string]int)
	rec := s.record(key)
	for write := range 30 {
		next := s.record(key)
		if write%2 == 0 {
			next.Payload, next.Data = rec.Payload, rec.Data // the same content is still another write
		}
		version := s.put(next, store.Precondition{})
		if before, ok := seen[version]; ok {
			s.Errorf("write %d has version %q, the same as write %d", write, version, before)
		}
		seen[version] = write
		s.holds(next, version)
		if again := s.get(key).Version; again != version {
			s.Errorf("version went from %q to %q without a write", version, again)
		}
		if write%3 == 2 {
			s.remove(key)
		}
	}
}

// askRepeatedWriteID repeats a write, like a caller that got no answer.
func askRepeatedWriteID(s *subject) {
	key := keyOf("org:acme", "key")
	older := s.put(s.record(key), store.Precondition{})
	rec := s.record(key)
	version := s.put(rec, store.Precondition{Version: older})
	other := s.record(key)
	other.WriteID, other.Description = rec.WriteID, "a repeat changes nothing, whatever its content"

	for _, pre := range []store.Precondition{
		{}, {Absent: true}, {Present: true}, {Version: older}, {Version: version}, {Version: "never-was"},
	} {
		for _, repeat := range []*store.Record{rec, other} {
			got, err := s.Put(s.ctx, repeat, pre)
			switch {
			case s.Features.Managed && repeat == other:
				if !errors.Is(err, subjects.ErrInvalid) {
					s.Errorf("Put with %+v of other content under a write id = %q, %v; want ErrInvalid", pre, got, err)
				}
			case err != nil || got != version:
				s.Errorf("repeated Put with %+v = %q, %v; want version %q of the first", pre, got, err, version)
			}
			if s.Features.Managed {
				continue // it compares the content itself
			}
			asked := pre
			asked.Once = true
			if got, err := s.Put(s.ctx, repeat, asked); !errors.Is(err, store.ErrRepeated) || got != "" {
				s.Errorf("repeated Put with %+v = %q, %v; want ErrRepeated", asked, got, err)
			}
		}
		s.holds(rec, version)
	}
	once := s.record(key)
	s.holds(once, s.put(once, store.Precondition{Once: true}))

	// The same write id on another key is another write.
	elsewhere := s.record(keyOf("org:acme", "other"))
	elsewhere.WriteID = once.WriteID
	s.holds(elsewhere, s.put(elsewhere, store.Precondition{Absent: true}))
}
