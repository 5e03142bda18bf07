package file

import (
	"path"
	"strings"
	"testing"

	"credbus/subjects"
)

func TestNames(t *testing.T) {
	for _, test := range []struct{ scope, id, want string }{
		{"org:acme", "key", "records/org=acme/@key.cred"},
		{"org:acme/team:eng", "con", "records/org=acme/team=eng/@con.cred"},
		{"ORG:Acme", "DB_URL-2", "records/+org=a+cme/@+db_url-2.cred"},
		{"a:b", "aBc", "records/a=b/@a+b+c.cred"},
		{"a:b", strings.Repeat("x", 240), "records/a=b/@" + strings.Repeat("x", 239) + ",/,x.cred"},
	} {
		if got := recordPath(subjects.Target{Scope: subjects.Scope(test.scope), ID: subjects.ID(test.id)}); got != test.want {
			t.Errorf("%s/%s is at %s, want %s", test.scope, test.id, got, test.want)
		}
	}
}

// FuzzNames checks that every key has a path of its own, that every file system
// accepts the path, and that the key can be read from it.
func FuzzNames(f *testing.F) {
	upper, mixed := strings.Repeat("A", 255), strings.Repeat("aB", 127)
	f.Add("org:acme", "key", "org:Acme", "key")
	f.Add("a:b/c:d", "x", "a:b", "c")
	f.Add("a:"+mixed+mixed, upper, "A:"+upper, mixed)
	f.Add(upper+"x:y", "con", upper+":y", "nul")
	f.Add("-:_", "--", "_:-", "-_")
	f.Fuzz(func(t *testing.T, scope1, id1, scope2, id2 string) {
		key1 := subjects.Target{Scope: subjects.Scope(scope1), ID: subjects.ID(id1)}
		key2 := subjects.Target{Scope: subjects.Scope(scope2), ID: subjects.ID(id2)}
		if key1.Check() != nil || key2.Check() != nil {
			return
		}
		path1, path2 := recordPath(key1), recordPath(key2)
		if (path1 == path2) != (key1 == key2) {
			t.Errorf("%v and %v are at %s and %s", key1, key2, path1, path2)
		}
		for part := range strings.SplitSeq(path1, "/") {
			if len(part) > 255 || strings.ToLower(part) != part || strings.ContainsAny(part, `:\<>"|?* `) || strings.HasSuffix(part, ".") {
				t.Errorf("%v has the name %q in its path", key1, part)
			}
			switch strings.TrimSuffix(part, recordSuffix) {
			case "con", "nul", "aux", "prn", "com1", "lpt1", ".", "..", "":
				t.Errorf("%v has the device name %q in its path", key1, part)
			}
		}
		if key, ok := keyOf(path1); !ok || key != key1 {
			t.Errorf("%s is read back as %v, %t", path1, key, ok)
		}
		for dir := path.Dir(path1); dir != recordsDir; dir = path.Dir(dir) {
			if _, isRecord := keyOf(dir); isRecord || !leadsToRecords(path.Base(dir)) {
				t.Errorf("%s on the way to %s is not watched", dir, path1)
			}
		}
		home := scopePath(key1.Scope)
		if id, ok := idOf(strings.TrimPrefix(path1, home+"/")); !ok || id != key1.ID {
			t.Errorf("%s is read back as %q, %t", path1, id, ok)
		}
		parent := scopePath(key1.Scope.Parent())
		last := string(key1.Scope)[strings.LastIndexByte(string(key1.Scope), '/')+1:]
		if segment, ok := segmentOf(strings.TrimPrefix(home, parent+"/")); !ok || segment != last {
			t.Errorf("%s is read back as %q, %t", home, segment, ok)
		}
	})
}

// FuzzForeignNames checks that a path that belongs to no key is not accepted.
func FuzzForeignNames(f *testing.F) {
	for _, name := range []string{"@key.cred", "@+key.cred", "@++key.cred", "@key", "key.cred", "@,/,a.cred", "org=acme", "+", "@Key.cred",
		"records/@key.cred", "records/a=b/@key.cred", "records/a=b/@+k.cred", "records/a=b/,/,c=d/@k.cred", "records//@k.cred"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if id, ok := idOf(name); ok {
			if got := recordPath(subjects.Target{Scope: "a:b", ID: id}); got != "records/a=b/"+name {
				t.Errorf("%q passes for ID %q, which is at %s", name, id, got)
			}
		}
		if key, ok := keyOf(name); ok && recordPath(key) != name {
			t.Errorf("%q passes for %v, which is at %s", name, key, recordPath(key))
		}
		if segment, ok := segmentOf(name); ok {
			if _, err := subjects.ParseScope(segment); err == nil && segment != "" && !strings.Contains(segment, "/") {
				if got := scopePath(subjects.Scope(segment)); got != "records/"+name {
					t.Errorf("%q passes for segment %q, which is at %s", name, segment, got)
				}
			}
		}
	})
}
