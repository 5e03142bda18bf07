package jetstream

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/subjects"
)

// Names must stay the same as in buckets of earlier releases.
func TestNames(t *testing.T) {
	for _, test := range []struct{ scope, id, want string }{
		{"org:acme", "key", "org=acme.key"},
		{"org:acme/team:eng", "api-key", "org=acme.team=eng.api-key"},
		{"ORG:Acme", "DB_URL-2", "ORG=Acme.DB_URL-2"},
	} {
		key := subjects.Target{Scope: subjects.Scope(test.scope), ID: subjects.ID(test.id)}
		if got := nameOf(key); got != test.want {
			t.Errorf("%v is named %s, want %s", key, got, test.want)
		}
	}
	for _, foreign := range []string{
		"", "key", ".key", "org.key", "org=acme", "org=acme.", "org=acme.a=b", "org=acme..key", "org:acme.key", "org=acme/a=b.key",
		"=.key", "a=b=c.key", "org=acme.k/y", "org=acme.k:y", "org=acme." + strings.Repeat("k", 256),
	} {
		if key, ok := keyOf(foreign); ok {
			t.Errorf("%q passes for %v", foreign, key)
		}
	}
}

// FuzzNames checks that every key has a name of its own, that buckets accept the
// name, and that the key can be read from it.
func FuzzNames(f *testing.F) {
	f.Add("org:acme", "key", "org:Acme", "key")
	f.Add("a:b/c:d", "x", "a:b", "c")
	f.Add("a:"+strings.Repeat("b", 510), strings.Repeat("A", 255), "-:_", "--")
	f.Fuzz(func(t *testing.T, scope1, id1, scope2, id2 string) {
		key1 := subjects.Target{Scope: subjects.Scope(scope1), ID: subjects.ID(id1)}
		key2 := subjects.Target{Scope: subjects.Scope(scope2), ID: subjects.ID(id2)}
		if key1.Check() != nil || key2.Check() != nil {
			return
		}
		name1, name2 := nameOf(key1), nameOf(key2)
		if (name1 == name2) != (key1 == key2) {
			t.Errorf("%v and %v are named %s and %s", key1, key2, name1, name2)
		}
		if key, ok := keyOf(name1); !ok || key != key1 {
			t.Errorf("%s is read back as %v, %t", name1, key, ok)
		}
		if strings.Trim(name1, "-/_=.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" || !server.IsValidLiteralSubject(name1) {
			t.Errorf("no bucket accepts the key %s", name1)
		}
	})
}

// FuzzForeignNames checks that a name that belongs to no key is not accepted.
func FuzzForeignNames(f *testing.F) {
	for _, name := range []string{"org=acme.key", "org:acme.key", "org=acme/a=b.k", ".", "a=b..c", "a=b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if key, ok := keyOf(name); ok && (key.Check() != nil || nameOf(key) != name) {
			t.Errorf("%q passes for %v, which is named %s", name, key, nameOf(key))
		}
	})
}
