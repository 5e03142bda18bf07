package storetest

import (
	"maps"
	"slices"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// askHostileNames stores names that a careless encoding merges, refuses or cuts
// off.
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
		"org:acme-", "org:acme_", "org:acme-team", "org:acme-AbCdEf", "org:acme-abcdef",
		"con:nul", "aux:prn", "CON:com1", "id:a", "data:x", "locks:x",
		"a:b/c:d", "a:b-c/d:e", "a-b:c", "a:b_c", "a_b:c", "a:-b", "a-:b", "a:--b", "a--:b", "a:_", "_:_", "-:-",
		longScope("x"), longScope("X"),
		"l:" + strings.Repeat("v", subjects.MaxScopeLen-2), "L:" + strings.Repeat("V", subjects.MaxScopeLen-2),
		strings.Repeat("lV", 255) + ":v", strings.Repeat("L", 250) + ":" + strings.Repeat("V", 261),
	}
	ids := []string{
		"a", "A", "aA", "Aa", "AA", "aa", "con", "nul", "CON", "Nul", "aux", "prn", "com1", "lpt9",
		"-", "--", "_", "__", "-a", "a-", "_a", "a_", "-A", "_A", "A_", "x2d", "_2d", "-2d", "_5f", "_41", "-41", "_x41_",
		"key", "key-AbCdEf", "key-abcdef", "key-123456", "key-AbCdEf-AbCdEf", "-AbCdEf", "_3D", "-3D", "_25", "3d", "x3D", "xn--a", "XN--A",
		"AWSCURRENT", "aws", "default", "kube-system", "current", "latest", "versions", "config", "delete", "destroy", "undelete",
		"list", "new", "null", "true", "value", "sha256", "0x41", "1e3", "QUE", "QUE_", strings.Repeat("0", 64), strings.Repeat("F", 64),
		"0", "00", "-rf", "tmp", "locks", "data", "metadata", "index", "cred", "json", "lost-found",
		strings.Repeat("a", subjects.MaxIDLen), strings.Repeat("A", subjects.MaxIDLen), strings.Repeat("aA", subjects.MaxIDLen/2),
		strings.Repeat("a", subjects.MaxIDLen-1) + "b", strings.Repeat("A", subjects.MaxIDLen-1) + "B",
		strings.Repeat("-", subjects.MaxIDLen), strings.Repeat("_", subjects.MaxIDLen), strings.Repeat("f", 64),
	}
	var keys []subjects.Target
	for i, scope := range scopes {
		if _, err := subjects.ParseScope(scope); err != nil {
			s.Fatalf("the suite uses an invalid scope: %v", err)
		}
		for j, id := range ids {
			// Every ID in one scope, and every scope with a few IDs: all pairs
			// would only repeat the same tests.
			if i > 0 && (i+j)%6 != 0 && len(scope)+len(id) < subjects.MaxScopeLen+subjects.MaxIDLen {
				continue
			}
			keys = append(keys, keyOf(scope, id))
		}
	}
	s.sideBySide(keys)
}

// askNearNames stores names that differ in only one place, at every length at
// which a provider cuts names or an encoding changes its form, and names that
// become equal if separators are mixed up.
func askNearNames(s *subject) {
	seen := make(map[subjects.Target]bool)
	add := func(scope, id string) { seen[keyOf(scope, id)] = true }
	for _, n := range []int{31, 32, 33, 62, 63, 64, 65, 126, 127, 128, 129, 200, 240, 247, 252, 253, 254, 255, 256, 257, 511, 512} {
		long := strings.Repeat("n", n-2)
		for _, scope := range []string{"l:" + long, "l:" + long[1:] + "m", "l:" + long[1:] + "N", "l:m" + long[1:]} {
			add(scope, "id")
			if n == subjects.MaxScopeLen {
				id := strings.Repeat("i", subjects.MaxIDLen)
				add(scope, id)
				add(scope, id[1:]+"j")
				add(scope, id[1:]+"I")
				add(scope, "j"+id[1:])
			}
		}
		if n <= subjects.MaxIDLen {
			id := strings.Repeat("i", n)
			add("org:acme", id)
			add("org:acme", id[1:]+"j")
			add("org:acme", id[1:]+"I")
			add("org:acme", id[1:]+"-")
			add("org:acme", "j"+id[1:])
		}
	}
	for _, between := range []string{"-", "_", "--", "__", "-_", "_-", "-a-", "x2f", "-2f", "_2f_", "-3a", "0"} {
		add("a:b", "c"+between+"d")
		add("a:b"+between+"c", "d")
		add("a:b/c:d", "e")
		add("a:b/c:d"+between+"e", "f")
		add("a:b/c:d", "e"+between+"f")
		add("a:b/c"+between+"d:e", "f")
		add("a:b", "c"+between+"d"+between+"e")
		add("a:b"+between+"c"+between+"d", "e")
		add("a"+between+"b:c", "d")
	}
	s.sideBySide(slices.Collect(maps.Keys(seen)))
}

// sideBySide puts a record under each key, and checks that each stays separate:
// for Get, for List, and when others are deleted.
func (s *subject) sideBySide(keys []subjects.Target) {
	s.Helper()
	type put struct {
		rec     *store.Record
		version string
	}
	puts := make(map[subjects.Target]put)
	for _, key := range keys {
		if err := key.Check(); err != nil {
			s.Fatalf("the suite uses an invalid key: %v", err)
		}
		rec := s.record(key)
		puts[key] = put{rec, s.put(rec, store.Precondition{Absent: true})}
	}
	for _, p := range puts {
		s.holds(p.rec, p.version)
	}

	unseen := maps.Clone(puts)
	for _, rec := range s.walk(subjects.Root, 100) {
		p, ok := unseen[rec.Target]
		if !ok {
			s.Errorf("List shows %v twice, or without a Put", shorten(rec.Target))
			continue
		}
		s.same(&rec, p.rec, p.version)
		delete(unseen, rec.Target)
	}
	for key := range unseen {
		s.Errorf("List does not show %v", shorten(key))
	}

	gone := make(map[subjects.Target]bool)
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
