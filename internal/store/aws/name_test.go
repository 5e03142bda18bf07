package aws

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"credbus/subjects"
)

var (
	allowedName   = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	endsAsARNDoes = regexp.MustCompile(`-.{6}$`)
)

// FuzzNames checks that each key has a name of its own, that Secrets Manager
// accepts the name, that the key can be read from it, and that a list of any scope
// above asks for it.
func FuzzNames(f *testing.F) {
	for _, seed := range [][2]string{
		{"org:acme", "key"}, {"org:acme/team:eng", "key-AbCdEf"}, {"a:b", "-------"}, {"a:b", strings.Repeat("-", subjects.MaxIDLen)},
		{"l:" + strings.Repeat("v", 510), strings.Repeat("i", 255)}, {"l:" + strings.Repeat("v", 510), strings.Repeat("i", 254) + "j"},
		{strings.Repeat("a:b/", 7) + "c:" + strings.Repeat("-", 400), "x-abcdef"}, {"org:acme", "x-abcde"}, {"org:acme-x", "abcdef"},
	} {
		f.Add("credbus", seed[0], seed[1])
		f.Add(strings.Repeat("p/-", 66)+"pp", seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, prefix, scope, id string) {
		config, err := Config{Prefix: prefix}.withDefaults()
		key := subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)}
		if err = errors.Join(err, key.Check()); err != nil {
			return // the store refuses such a key before it makes a name
		}
		s := &Store{config: config}
		name := s.nameOf(key)
		if !allowedName.MatchString(name) || endsAsARNDoes.MatchString(name) {
			t.Errorf("Secrets Manager does not take %q", name)
		}
		note := s.newNote(key, sealed, "version")
		if again, ok := s.keyOf(name, note); !ok || again != key {
			t.Errorf("%q is read as %v", name, again)
		}
		if n, err := note.text(); err != nil || len(n) > 1200 {
			t.Errorf("a note of %d characters, %v", len(n), err)
		}
		for above := key.Scope; ; above = above.Parent() {
			if !strings.HasPrefix(name, s.namesBelow(above)) {
				t.Errorf("a list of %q does not ask for %q", above, name)
			}
			if above == subjects.Root {
				break
			}
		}
	})
}

// A secret below the prefix is not a credential if nameOf never makes its name.
func TestOtherNames(t *testing.T) {
	s := &Store{config: Config{Prefix: "credbus"}}
	hashed := strings.Repeat("a", maxHead-len("credbus/")) + hashMark + strings.Repeat("0", 64)
	for _, name := range []string{
		"", "credbus", "credbus/", "credbus/probe", "credbus/org=acme", "credbus/org=acme/", "credbus//key", "credbus/org:acme/key", "credbus/org=acme/key=",
		"credbus/org=acme/key-abcdef", "credbus/org=acme/=key", "credbus/org=acme/a.b", "credbus/org==acme/key", "credbus2/org=acme/key", "other/org=acme/key",
		"credbus/prod/org=acme/key", "credbus/org=acme/key/=", "credbus/" + hashed,
	} {
		if key, ok := s.keyOf(name, new(note)); ok {
			t.Errorf("%q is taken for %v", name, key)
		}
	}
	// Nor is a secret with a hashed name and the note of another key.
	long := subjects.Target{Scope: subjects.Scope("l:" + strings.Repeat("v", 510)), ID: "a"}
	if key, ok := s.keyOf(s.nameOf(long), &note{Scope: long.Scope, ID: "b"}); ok {
		t.Errorf("with the note of another key it is taken for %v", key)
	}
}

func ExampleStore_nameOf() {
	s := &Store{config: Config{Prefix: "credbus"}}
	fmt.Println(s.nameOf(subjects.Target{Scope: "org:acme/team:eng", ID: "api-key"}))
	fmt.Println(s.nameOf(subjects.Target{Scope: "org:acme/team:eng", ID: "key-AbCdEf"}))
	// Output:
	// credbus/org=acme/team=eng/api-key
	// credbus/org=acme/team=eng/key-AbCdEf=
}
