package vault_test

import (
	"strings"
	"testing"

	"credbus/internal/store/vault"
	"credbus/subjects"
)

func TestNames(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, test := range []struct{ scope, id, want string }{
		{"org:acme/team:eng", "API_Key", "org:acme/team:eng/API_Key"},
		{"org:acme", x(96), "org:acme/" + x(96)},
		{"org:acme", x(97), "org:acme/" + x(96) + "~/x"},
		{"org:acme", x(255), "org:acme/" + x(96) + "~/" + x(96) + "~/" + x(63)},
		{"l:" + x(94) + "/a:b", "id", "l:" + x(94) + "/a:b/id"},
		{"l:" + x(95) + "/a:b", "id", "l:" + x(94) + ":~/x/a:b/id"},
		{x(97) + ":y", "id", x(96) + ":~/x:y/id"},
		{x(95) + ":y", "id", x(95) + "::~/y/id"},
	} {
		key := subjects.Target{Scope: subjects.Scope(test.scope), ID: subjects.ID(test.id)}
		if got := vault.NameOf(key); got != test.want {
			t.Errorf("%s is named\n%s, want\n%s", key, got, test.want)
		}
		if got, ok := vault.KeyOf(test.want); !ok || got != key {
			t.Errorf("%s is of %s, %t", test.want, got, ok)
		}
		for part := range strings.SplitSeq(test.want, "/") {
			if len(part) > 98 {
				t.Errorf("%s has a part of %d bytes", test.want, len(part))
			}
		}
	}
	for _, name := range []string{
		"", "key", "org:acme", "org:acme/", "/org:acme/key", "org:acme//key", "org:acme/a:b", "org:acme/ke y", "org/key", "org:acme/key~",
		"org:acme/short~/cut", "org:ac:~/me/key", "org:acme/" + x(97), "org:acme/" + x(96) + "~/", x(97) + ":y/id", "org:acme/" + x(96) + ":~/x",
		"l:" + x(94) + "~/x/id",
	} {
		if key, ok := vault.KeyOf(name); ok {
			t.Errorf("%q is taken for %s", name, key)
		}
	}
}
