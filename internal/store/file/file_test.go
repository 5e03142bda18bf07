package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed"
	"credbus/subjects"
)

func open(t testing.TB, dir string) *file.Store {
	t.Helper()
	s, err := file.New(file.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func newRecord(scope, id, writeID string) *store.Record {
	return &store.Record{
		Target:  subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)},
		WriteID: writeID,
		Payload: []byte("sealed by " + writeID),
	}
}

func put(t testing.TB, s store.Store, rec *store.Record) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), rec, store.Precondition{})
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// files returns the paths below dir that end with suffix.
func files(t testing.TB, dir, suffix string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// damage flips a bit in the middle of the only file of id.
func damage(t *testing.T, dir string, id subjects.ID) {
	t.Helper()
	paths := files(t, dir, "@"+string(id)+".cred")
	if len(paths) != 1 {
		t.Fatalf("%s is in %v, want one file", id, paths)
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0x10
	if err := os.WriteFile(paths[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// harness calls openIn for a store in a directory of its own.
func harness(openIn func(t *testing.T, dir string) store.Store) storetest.Harness {
	var dir string // of the store opened last
	h := storetest.Harness{
		Open: func(t *testing.T) store.Store {
			dir = filepath.Join(t.TempDir(), "store")
			if strings.HasSuffix(t.Name(), "/Full") {
				dir = filepath.Join(testbed.SmallDisk(t, "1m"), "store")
			}
			return openIn(t, dir)
		},
		Fill: func(t *testing.T, _ store.Store) func() {
			filler := filepath.Join(filepath.Dir(dir), "filler")
			testbed.Fill(t, filler)
			return func() {
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
			}
		},
		Replace: func(t *testing.T, _ store.Store) func() {
			rename(t, dir, dir+".away")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() { rename(t, dir, dir+".empty"); rename(t, dir+".away", dir) }
		},
		Damage: func(t *testing.T, _ store.Store, key subjects.Target) { damage(t, dir, key.ID) },
		Plant: func(t *testing.T, _ store.Store, key subjects.Target, value string) { // the scope must have another record
			beside := filepath.Dir(files(t, dir, ".cred")[0])
			if err := os.WriteFile(filepath.Join(beside, "@"+string(key.ID)+".cred"), []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		Other: func(t *testing.T, _ store.Store) store.Store { return open(t, dir) },
	}
	if runtime.GOOS == "windows" { // does not rename an open directory
		h.Replace = nil
	}
	return h
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, harness(func(t *testing.T, dir string) store.Store { return open(t, dir) }))
}

// Two instances share only the directory, like two processes: only locks of the
// file system keep them apart.
func TestConformanceShared(t *testing.T) {
	t.Parallel()
	storetest.Run(t, harness(func(t *testing.T, dir string) store.Store {
		return &alternating{stores: [2]*file.Store{open(t, dir), open(t, dir)}}
	}))
}

// alternating sends calls to two stores in turns.
type alternating struct {
	stores [2]*file.Store
	calls  atomic.Uint32
}

func (a *alternating) next() *file.Store { return a.stores[a.calls.Add(1)%2] }

func (a *alternating) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	return a.next().Get(ctx, key)
}

func (a *alternating) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	return a.next().Put(ctx, rec, pre)
}

func (a *alternating) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	return a.next().Delete(ctx, key, pre)
}

func (a *alternating) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return a.next().List(ctx, opts)
}

func (a *alternating) Close(ctx context.Context) error {
	return errors.Join(a.stores[0].Close(ctx), a.stores[1].Close(ctx))
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	rec := newRecord("org:acme/team:eng", "API_Key", "w1")
	version := put(t, s, rec)
	s.Close(t.Context())
	got, err := open(t, dir).Get(t.Context(), rec.Target)
	if err != nil || got.Version != version || !bytes.Equal(got.Payload, rec.Payload) {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if paths := files(t, dir, ".cred"); len(paths) != 1 || !strings.HasSuffix(filepath.ToSlash(paths[0]), "/records/org=acme/team=eng/@+api_k+ey.cred") {
		t.Errorf("files: %v", paths)
	}
}

// Even a caller that uses a write id twice gets another version for each write.
func TestVersionIsTheStoresOwn(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	rec := newRecord("org:acme", "key", "w1")
	first := put(t, s, rec)
	put(t, s, newRecord("org:acme", "key", "w2"))
	if again := put(t, s, rec); again == first {
		t.Errorf("version %q came back", again)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows: the ACL of the directory decides")
	}
	dir := filepath.Join(t.TempDir(), "made", "by", "store")
	s := open(t, dir)
	put(t, s, newRecord("org:acme/team:eng", "key", "w1"))
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o750, 0o705, 0o777, 0o710} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := file.New(file.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "run chmod 700 "+dir) {
			t.Errorf("mode %04o: %v, want the chmod to run", mode, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	occupied := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(occupied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(occupied, "records"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"":                            "no directory is set",
		plain:                         plain,
		filepath.Join(plain, "below"): plain,
		occupied:                      "cannot write in " + occupied,
	} {
		if _, err := file.New(file.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New in %q: %v, want %q", dir, err, want)
		}
	}
}

// A file in the tree that is not the record of its place is listed as damaged or
// ignored.
func TestForeignFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	kept := newRecord("org:acme", "kept", "w1")
	put(t, s, kept)
	home := filepath.Join(dir, "records", "org=acme")
	content, err := os.ReadFile(filepath.Join(home, "@kept.cred"))
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, content, 0o600); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	damagedIDs := map[subjects.ID]string{
		"moved": "holds org:acme/kept", "cut": "cut off", "empty": "cut off", "huge": "at most",
		"text": "not a credbus record", "newer": "version 2 of the format",
	}
	must(os.WriteFile(filepath.Join(home, "@moved.cred"), content, 0o600))
	must(os.WriteFile(filepath.Join(home, "@cut.cred"), content[:20], 0o600))
	must(os.WriteFile(filepath.Join(home, "@empty.cred"), nil, 0o600))
	must(os.WriteFile(filepath.Join(home, "@huge.cred"), make([]byte, 1<<20+1), 0o600))
	must(os.WriteFile(filepath.Join(home, "@text.cred"), bytes.Repeat([]byte("text\n"), 50), 0o600))
	newer := bytes.Clone(content)
	newer[7] = 2
	must(os.WriteFile(filepath.Join(home, "@newer.cred"), newer, 0o600))
	if runtime.GOOS != "windows" {
		must(os.Symlink(outside, filepath.Join(home, "@link.cred")))
		must(os.Symlink("@kept.cred", filepath.Join(home, "@twin.cred")))
		must(os.Symlink("..", filepath.Join(home, "loop=loop")))
		damagedIDs["link"], damagedIDs["twin"] = "symbolic link", "holds org:acme/kept"
	}
	for _, ignored := range []string{
		".DS_Store", "README", "kept.cred", "@Kept.cred", "@++kept.cred", "@kept.cred.bak", "@.cred", "@a.b.cred",
		"@kept,", ",@kept.cred", ".tmp-zz-x", ".tmp-", "@+.cred", "@k=.cred",
	} {
		must(os.WriteFile(filepath.Join(home, ignored), content, 0o600))
	}
	must(os.MkdirAll(filepath.Join(home, "not-a-segment", "deep"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "records", "@rootless.cred"), content, 0o600))

	page, err := s.List(t.Context(), store.ListOptions{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range page.Records {
		want, damaged := damagedIDs[rec.ID]
		switch {
		case damaged && (!strings.Contains(rec.Damaged, want) || !strings.Contains(rec.Damaged, filepath.Join(home, "@"+string(rec.ID)+".cred"))):
			t.Errorf("%v is listed as damaged by %q, want %q and the path", rec.Target, rec.Damaged, want)
		case !damaged && (rec.Target != kept.Target || rec.Damaged != ""):
			t.Errorf("%v is listed, damaged by %q", rec.Target, rec.Damaged)
		}
	}
	if len(page.Records) != len(damagedIDs)+1 {
		t.Errorf("%d records are listed, want %d", len(page.Records), len(damagedIDs)+1)
	}
	for id := range damagedIDs {
		key := subjects.Target{Scope: "org:acme", ID: id}
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Get %v: %v", key, err)
		}
		put(t, s, newRecord("org:acme", string(id), "w9"))
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("Get %v after a write over the damage: %v", key, err)
		}
	}
	if after, err := os.ReadFile(outside); err != nil || !bytes.Equal(after, content) {
		t.Errorf("a write over a link changed the file that it leads to: %v", err)
	}
}

func TestPermissionDenied(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("root may write whatever the mode of a directory says, and Windows has no modes: run the test as another user")
	}
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	home := filepath.Join(dir, "records", "org=acme")
	if err := os.Chmod(home, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(home, 0o700)
	if _, err := s.Put(t.Context(), newRecord("org:acme", "key", "w2"), store.Precondition{}); !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Put: %v, want ErrPermission and the path", err)
	}
}

func TestKeysAreChecked(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	for _, key := range []subjects.Target{
		{}, {Scope: "org:acme"}, {ID: "key"}, {Scope: "../..", ID: "key"}, {Scope: "org:acme", ID: "../key"},
		{Scope: "org:acme/../x:y", ID: "key"}, {Scope: "org:acme", ID: "a/b"},
	} {
		_, getErr := s.Get(t.Context(), key)
		_, putErr := s.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{})
		for _, err := range []error{getErr, putErr, s.Delete(t.Context(), key, store.Precondition{})} {
			if !errors.Is(err, subjects.ErrInvalid) {
				t.Errorf("key %q: %v, want ErrInvalid", key, err)
			}
		}
	}
}

// A running store makes directories again that someone removed.
func TestDirectoryRemovedOutside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rec := newRecord("org:acme/team:eng", "key", "w1")
	put(t, s, rec)
	if err := os.RemoveAll(filepath.Join(dir, "records", "org=acme")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	put(t, s, rec)
	if _, err := s.Get(t.Context(), rec.Target); err != nil {
		t.Errorf("Get after the directory was made again: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "store"))
	rec := newRecord("org:acme/team:eng/service:api", "key", "")
	rec.Payload = make([]byte, 400)
	for i := 0; b.Loop(); i++ {
		rec.WriteID = fmt.Sprint("w", i)
		put(b, s, rec)
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "store"))
	rec := newRecord("org:acme/team:eng/service:api", "key", "w")
	rec.Payload = make([]byte, 400)
	rec.Tags = map[string]string{"env": "prod", "team": "eng"}
	rec.Expires = time.UnixMilli(1)
	put(b, s, rec)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), rec.Target); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList1000Of10000 lists a page of 1,000 from the middle of 10,000 in one
// scope.
func BenchmarkList1000Of10000(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "store"))
	for i := range 10_000 {
		put(b, s, newRecord("org:acme/team:eng", fmt.Sprintf("key-%05d", i), "w"))
	}
	after := store.FormatCursor(subjects.Target{Scope: "org:acme/team:eng", ID: "key-04999"})
	b.ReportAllocs()
	for b.Loop() {
		page, err := s.List(b.Context(), store.ListOptions{Scope: "org:acme", After: after, Limit: 1000})
		if err != nil || len(page.Records) != 1000 || page.Records[0].ID != "key-05000" {
			b.Fatalf("%d records, %v", len(page.Records), err)
		}
	}
}
