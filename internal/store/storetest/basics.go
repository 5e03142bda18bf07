package storetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

func askBasics(s *subject) {
	key := keyOf("org:acme/team:eng", "api-key")
	s.missing(key)
	if err := s.Delete(s.ctx, key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		s.Errorf("Delete of what is not there: %v, want ErrNotFound", err)
	}

	first := record(key)
	first.Version = "a version of the caller's is ignored"
	version := s.put(first, store.Precondition{})
	s.holds(first, version)

	second := record(key)
	second.Created, second.Modified = epoch.Add(time.Hour), epoch.Add(time.Hour)
	version = s.put(second, store.Precondition{})
	second.Created = first.Created // kept from the record that was replaced
	s.holds(second, version)

	for _, other := range []store.Key{
		keyOf("org:acme/team:eng", "api-ke"),
		keyOf("org:acme/team:eng", "api-key2"),
		keyOf("org:acme", "api-key"),
		keyOf("org:acme/team:eng/service:api", "api-key"),
	} {
		s.missing(other)
	}

	s.remove(key)
	s.missing(key)

	third := record(key)
	third.Created = epoch.Add(2 * time.Hour) // nothing is replaced
	version = s.put(third, store.Precondition{})
	s.holds(third, version)
}

func askMetadata(s *subject) {
	many := make(map[string]string)
	for i := range subjects.MaxTags {
		key := fmt.Sprintf("%02d", i)
		many[key+strings.Repeat("k", subjects.MaxTagKeyLen-len(key))] = strings.Repeat("v", subjects.MaxTagValueLen)
	}
	for name, metadata := range map[string]subjects.Metadata{
		"none":    {},
		"expires": {Expires: time.UnixMilli(4_102_444_799_999).UTC()},
		"long ago": {
			Created:  time.UnixMilli(-1).UTC(),
			Modified: time.UnixMilli(0).UTC(),
			Expires:  time.UnixMilli(1).UTC(),
		},
		"policy": {RotationDays: subjects.MaxRotationDays, Inheritable: true},
		"plain": {
			Description: "Token of the billing service; ask the payments team.\n\ttabs, \"quotes\", \\ and = : / stay",
			Tags:        map[string]string{"env": "prod", "empty": "", "Env": "Prod", "aws-like:x/y=z": " spaces "},
		},
		"unicode": {
			Description: strings.Repeat("schlüssel 鍵 🔑 ", 80)[:900] + "é e\u0301",
			Tags:        map[string]string{"ключ": "значение", "🔑": "鍵", "é": "composed", "e\u0301": "decomposed"},
		},
		"longest": {Description: strings.Repeat("界", subjects.MaxDescriptionLen)},
		"most":    {Tags: many},
		"widest": {Tags: map[string]string{
			strings.Repeat("鍵", subjects.MaxTagKeyLen): strings.Repeat("🔑", subjects.MaxTagValueLen),
		}},
	} {
		metadata.Description = strings.ToValidUTF8(metadata.Description, "")
		rec := record(keyOf("org:acme", strings.ReplaceAll(name, " ", "-")))
		rec.Metadata = metadata
		version := s.put(rec, store.Precondition{})
		s.holds(rec, version)

		listed := s.walk(rec.Scope, 100)
		found := false
		for i := range listed {
			if listed[i].Key == rec.Key {
				s.same(&listed[i], rec, version)
				found = true
			}
		}
		if !found {
			s.Errorf("List does not show %v", rec.Key)
		}

		// A replacement takes everything but Created from the new record:
		// nothing of the old metadata may shine through.
		next := record(rec.Key)
		version = s.put(next, store.Precondition{})
		next.Created = rec.Created
		s.holds(next, version)
	}
}

// askRevisions puts revisions in any order, the zero one too: they are no
// business of the store.
func askRevisions(s *subject) {
	for _, revision := range []subjects.Revision{
		{Stream: 0x18bcfe56800000, Seq: 42}, {}, {Stream: math.MaxUint64, Seq: math.MaxUint64}, {Seq: 1}, {Stream: 1},
	} {
		rec := record(keyOf("org:acme", "db"))
		rec.Revision = revision
		version := s.put(rec, store.Precondition{})
		s.holds(rec, version)
		listed := s.walk(rec.Scope, 100)
		if len(listed) != 1 {
			s.Fatalf("List shows %d records of one", len(listed))
		}
		s.same(&listed[0], rec, version)
	}
}

func askPayloads(s *subject) {
	most := s.Features.MaxPayload
	if most == 0 {
		most = defaultMaxPayload
	}
	for _, n := range []int{0, 1, 31, 32, 255, 256, 4095, 4096, 65535, 65536, most - 1, most} {
		if n > most {
			continue
		}
		rec := record(keyOf("org:acme", fmt.Sprintf("bytes-%d", n)))
		rec.Payload = make([]byte, n)
		rand.Read(rec.Payload)
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
	for name, payload := range map[string][]byte{
		"nul": make([]byte, 100), "high": {0xff, 0xfe, 0xc1, 0x80}, "lines": []byte("\r\n\r\n{\"a\":1}\n"), "nil": nil,
	} {
		rec := record(keyOf("org:acme", name))
		rec.Payload = payload
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
}

// askHostileNames puts names side by side that a careless encoding merges,
// refuses or cuts off.
func askHostileNames(s *subject) {
	longScope := func(letter string) string {
		segments := make([]string, subjects.MaxScopeLevels)
		for i := range segments {
			segments[i] = letter + ":" + strings.Repeat(letter, 61)
		}
		scope := strings.Join(segments, "/")
		return scope + strings.Repeat(letter, subjects.MaxScopeLen-len(scope))
	}
	scopes := []string{
		"org:acme", "org:Acme", "ORG:acme", "oRG:acme", "org:acme/team:a", "org:acme/team:A",
		"org:acme-", "org:acme_", "org:acme-team", "con:nul", "aux:prn", "CON:com1", "id:a", "data:x", "locks:x",
		"a:b/c:d", "a:b-c/d:e", "a-b:c", "a:b_c", "a_b:c", "a:-b", "a-:b", "a:--b", "a--:b", "a:_", "_:_", "-:-",
		longScope("x"), longScope("X"),
		"l:" + strings.Repeat("v", subjects.MaxScopeLen-2), "L:" + strings.Repeat("V", subjects.MaxScopeLen-2),
		strings.Repeat("lV", 255) + ":v", strings.Repeat("L", 250) + ":" + strings.Repeat("V", 261),
	}
	ids := []string{
		"a", "A", "aA", "Aa", "AA", "aa", "con", "nul", "CON", "Nul", "aux", "prn", "com1", "lpt9",
		"-", "--", "_", "__", "-a", "a-", "_a", "a_", "-A", "_A", "A_", "x2d", "_2d", "-2d", "_5f", "_41", "-41", "_x41_",
		"0", "00", "-rf", "tmp", "locks", "data", "metadata", "index", "cred", "json", "lost-found",
		strings.Repeat("a", subjects.MaxIDLen), strings.Repeat("A", subjects.MaxIDLen), strings.Repeat("aA", subjects.MaxIDLen/2),
		strings.Repeat("a", subjects.MaxIDLen-1) + "b", strings.Repeat("A", subjects.MaxIDLen-1) + "B",
		strings.Repeat("-", subjects.MaxIDLen), strings.Repeat("_", subjects.MaxIDLen), strings.Repeat("f", 64),
	}
	type put struct {
		rec     *store.Record
		version string
	}
	puts := make(map[store.Key]put)
	for i, scope := range scopes {
		if _, err := subjects.ParseScope(scope); err != nil {
			s.Fatalf("the suite asks about a scope that is none: %v", err)
		}
		for j, id := range ids {
			// Every ID in one scope and every scope with a few IDs: all
			// pairs would ask the same again.
			if i > 0 && (i+j)%6 != 0 && len(scope) < subjects.MaxScopeLen {
				continue
			}
			rec := record(keyOf(scope, id))
			puts[rec.Key] = put{rec, s.put(rec, store.Precondition{Absent: true})}
		}
	}
	for _, p := range puts {
		s.holds(p.rec, p.version)
	}

	unseen := maps.Clone(puts)
	for _, rec := range s.walk(subjects.Root, 100) {
		p, ok := unseen[rec.Key]
		if !ok {
			s.Errorf("List shows %v twice, or it was never put", shorten(rec.Key))
			continue
		}
		s.same(&rec, p.rec, p.version)
		delete(unseen, rec.Key)
	}
	for key := range unseen {
		s.Errorf("List does not show %v", shorten(key))
	}

	gone := make(map[store.Key]bool)
	for key := range puts {
		if len(gone)%2 == 0 || len(key.ID) == subjects.MaxIDLen {
			s.remove(key)
			gone[key] = true
		}
	}
	for key, p := range puts {
		if !gone[key] {
			s.holds(p.rec, p.version)
		}
	}
}
