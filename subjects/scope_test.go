package subjects

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseID(t *testing.T) {
	for _, id := range []string{"a", "Z9", "-", "_", "api-key_2", strings.Repeat("a", MaxIDLen)} {
		if got, err := ParseID(id); err != nil || got != ID(id) {
			t.Errorf("ParseID(%q) = %q, %v", id, got, err)
		}
	}
	checkRefused(t, ParseID, map[string]string{
		"":                                  "id is empty: give 1 to 255 characters",
		strings.Repeat("a", MaxIDLen+1):     "id has 256 characters: at most 255",
		"a.b":                               `id has '.' at position 2: only A-Z a-z 0-9 - _`,
		"a/b":                               `id has '/' at position 2`,
		"org:acme":                          `id has ':' at position 4`,
		"a b":                               `id has ' ' at position 2`,
		"*":                                 `id has '*' at position 1`,
		">":                                 `id has '>' at position 1`,
		"é":                                 `id has 'é' at position 1`,
		"a\x00":                             `id has '\x00' at position 2`,
		strings.Repeat("a", MaxIDLen) + "/": "id has 256 characters",
	})
}

func TestParseScope(t *testing.T) {
	eight := strings.TrimSuffix(strings.Repeat("l:v/", MaxScopeLevels), "/")
	longest := "l:" + strings.Repeat("v", MaxScopeLen-2)
	for _, scope := range []string{"", "org:acme", "org:acme/team:eng/service:api", "-:_", eight, longest} {
		if got, err := ParseScope(scope); err != nil || got != Scope(scope) {
			t.Errorf("ParseScope(%q) = %q, %v", scope, got, err)
		}
	}
	const slashes = "scope has an empty segment: write level:value/level:value without leading, trailing or double slashes"
	checkRefused(t, ParseScope, map[string]string{
		longest + "v":            "scope has 513 characters: at most 512",
		eight + "/l:v":           "scope has more than 8 levels",
		"/":                      slashes,
		"/org:acme":              slashes,
		"org:acme/":              slashes,
		"org:acme//team:eng":     slashes,
		"acme":                   `scope segment "acme" is not level:value`,
		"org:":                   `scope segment "org:" is not level:value`,
		":acme":                  `scope segment ":acme" is not level:value`,
		":":                      `scope segment ":" is not level:value`,
		"org:acme/eng":           `scope segment "eng" is not level:value`,
		"org:a:b":                `scope segment "org:a:b" has ':': only A-Z a-z 0-9 - _`,
		"org:a.b":                `scope segment "org:a.b" has '.'`,
		"o rg:a":                 `scope segment "o rg:a" has ' '`,
		"org:*":                  `scope segment "org:*" has '*'`,
		"org:>":                  `scope segment "org:>" has '>'`,
		"org:a\n":                `scope segment "org:a\n" has '\n'`,
		strings.Repeat("x", 400): `scope segment "` + strings.Repeat("x", 64) + `..." is not`,
	})
}

// checkRefused checks that the error of each input names its rule.
func checkRefused[T ~string](t *testing.T, parse func(string) (T, error), rules map[string]string) {
	t.Helper()
	for input, rule := range rules {
		got, err := parse(input)
		if got != "" || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), rule) {
			t.Errorf("parsing %.80q = %q, %v; want an error that says %q", input, got, err, rule)
		}
	}
}

func TestScopeParent(t *testing.T) {
	for scope, want := range map[Scope]Scope{
		Root:                      Root,
		"org:acme":                Root,
		"org:acme/team:eng":       "org:acme",
		"org:acme/team:eng/s:api": "org:acme/team:eng",
	} {
		if got := scope.Parent(); got != want {
			t.Errorf("parent of %q is %q, want %q", scope, got, want)
		}
	}
}

func TestScopeContains(t *testing.T) {
	for _, test := range []struct {
		outer, inner Scope
		want         bool
	}{
		{Root, Root, true},
		{Root, "org:acme", true},
		{"org:acme", Root, false},
		{"org:acme", "org:acme", true},
		{"org:acme", "org:acme/team:eng", true},
		{"org:acme", "org:acme/team:eng/service:api", true},
		{"org:acme/team:eng", "org:acme", false},
		{"org:acme", "org:acme2", false},
		{"org:acme", "org:acme-x", false},
		{"org:acme", "org:acme2/team:eng", false},
		{"org:acme2", "org:acme", false},
		{"org:acme/team:eng", "org:acme/team:eng2", false},
		{"org:acme", "org:other", false},
		{"org:acme", "org:ACME", false},
	} {
		if got := test.outer.Contains(test.inner); got != test.want {
			t.Errorf("%q contains %q: %v, want %v", test.outer, test.inner, got, test.want)
		}
	}
}

// sampleScopes is a tree in the order of a walk. Its names have characters that sort below
// the slash and below the colon.
var sampleScopes = []Scope{
	Root,
	"a-:b",
	"a:-", "a:-/x:y",
	"a:b", "a:b/-:-", "a:b/c:d", "a:b/c:d/e:f", "a:b/c:d-", "a:b/c:d0", "a:b/cc:d",
	"a:b-", "a:b-/c:d", "a:b--",
	"a:b0", "a:bb", "a:b_",
	"ab:c", "b:a",
}

func TestScopeCompareIsTreeWalkOrder(t *testing.T) {
	walk := func(a, b Scope) int { // by segments, like a walk of a tree
		split := func(s Scope) []string {
			if s == Root {
				return nil
			}
			return strings.Split(string(s), "/")
		}
		return slices.Compare(split(a), split(b))
	}
	if !slices.IsSortedFunc(slices.DeleteFunc(slices.Clone(sampleScopes), func(s Scope) bool { return s == "a:bb" || s == "a:b_" }), walk) {
		t.Fatal("the sample is not in the order of a walk")
	}
	for _, a := range sampleScopes {
		for _, b := range sampleScopes {
			got := a.Compare(b)
			if got != walk(a, b) || got != -b.Compare(a) || (got == 0) != (a == b) {
				t.Errorf("%q compared to %q is %d, a walk has %d, the reverse is %d", a, b, got, walk(a, b), b.Compare(a))
			}
			for _, c := range sampleScopes {
				if got < 0 && b.Compare(c) < 0 && a.Compare(c) >= 0 {
					t.Errorf("not transitive: %q < %q < %q", a, b, c)
				}
			}
		}
	}
	// A subtree is contiguous in the order, so a store can list it.
	sorted := slices.SortedFunc(slices.Values(sampleScopes), Scope.Compare)
	for _, outer := range sampleScopes {
		inside := slices.DeleteFunc(slices.Clone(sorted), func(s Scope) bool { return !outer.Contains(s) })
		at := slices.Index(sorted, outer)
		if !slices.Equal(inside, sorted[at:at+len(inside)]) {
			t.Errorf("the subtree of %q is not contiguous: %q", outer, inside)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	for _, scope := range sampleScopes {
		f.Add(string(scope), "org:acme/team:eng")
	}
	f.Add("org:acme//x", "org:acme2")
	f.Fuzz(func(t *testing.T, a, b string) {
		scope, err := ParseScope(a)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if string(scope) != a {
			t.Fatalf("scope changed: %q to %q", a, scope)
		}
		if _, err := ParseScope(string(scope.Parent())); err != nil || !scope.Parent().Contains(scope) {
			t.Fatalf("parent %q of %q: %v", scope.Parent(), scope, err)
		}
		got, err := DefaultPrefix.ParseCommand(List, DefaultPrefix.Command(List, scope))
		if err != nil || got != scope {
			t.Fatalf("through a subject %q became %q, %v", scope, got, err)
		}
		other, err := ParseScope(b)
		if err != nil {
			return
		}
		if scope.Compare(other) != -other.Compare(scope) {
			t.Fatalf("order of %q and %q is not symmetric", scope, other)
		}
		if want := slices.Contains(ancestors(other), scope); scope.Contains(other) != want {
			t.Fatalf("%q contains %q: %v", scope, other, !want)
		}
	})
}

// ancestors are the scope and all its parents.
func ancestors(scope Scope) []Scope {
	all := []Scope{scope}
	for scope != Root {
		scope = scope.Parent()
		all = append(all, scope)
	}
	return all
}

func FuzzParseID(f *testing.F) {
	f.Add("api-key")
	f.Add("a.b")
	f.Add(strings.Repeat("a", MaxIDLen+1))
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		scope, got, err := DefaultPrefix.ParseEvent(DefaultPrefix.Event("org:acme", id))
		if err != nil || scope != "org:acme" || got != ID(s) {
			t.Fatalf("through a subject %q became %q in %q, %v", s, got, scope, err)
		}
	})
}

// checkInvalid checks the error of a hostile input: it wraps ErrInvalid, and is too short to
// fill a log.
func checkInvalid(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("error does not wrap ErrInvalid: %v", err)
	}
	if n := len(err.Error()); n > 700 {
		t.Fatalf("error of %d bytes: %v", n, err)
	}
}
