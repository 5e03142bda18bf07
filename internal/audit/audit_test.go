package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"credbus/internal/testbed"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, required bool, sink Sink) *Log {
	t.Helper()
	l, err := Open(t.Context(), Config{Worker: "w", Required: required, Sinks: []Sink{sink}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(id subjects.ID) Entry {
	return Entry{Command: subjects.Store, Target: subjects.Target{Scope: "org:acme", ID: id}, Outcome: OK, Caller: Caller{Authority: "org:acme"}}
}

// write makes a log of some blocks, in files of at most maxBytes.
func write(t *testing.T, path string, maxBytes int64, ids ...subjects.ID) {
	t.Helper()
	l := open(t, true, NewFile(FileConfig{Path: path, MaxBytes: maxBytes, Logger: quiet}))
	for _, id := range ids {
		if err := l.Put(t.Context(), entry(id), entry(id+"-2")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, path string) *Report {
	t.Helper()
	sources, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(sources, "")
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestVerifyFindsChanges: a log that was restarted is whole, and each kind of change is found.
func TestVerifyFindsChanges(t *testing.T) {
	// at is the place of the first record of the second block, which has two records and a seal.
	for name, change := range map[string]func(l [][]byte, at int) [][]byte{
		"removed record": func(l [][]byte, at int) [][]byte { return slices.Delete(l, at, at+1) },
		"removed block":  func(l [][]byte, at int) [][]byte { return slices.Delete(l, at, at+3) },
		"removed seal":   func(l [][]byte, at int) [][]byte { return slices.Delete(l, at+2, at+3) },
		"changed byte": func(l [][]byte, at int) [][]byte {
			l[at] = bytes.Replace(l[at], []byte("acme"), []byte("acmf"), 1)
			return l
		},
		"changed seal": func(l [][]byte, at int) [][]byte {
			l[at+2] = bytes.Replace(l[at+2], []byte(`"hash"`), []byte(`"hasH"`), 1)
			return l
		},
		"swapped records":   func(l [][]byte, at int) [][]byte { l[at], l[at+1] = l[at+1], l[at]; return l },
		"duplicated record": func(l [][]byte, at int) [][]byte { return slices.Insert(l, at, l[at]) },
		"cut in the middle": func(l [][]byte, at int) [][]byte { l[at+1] = l[at+1][:20]; return l },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "audit.jsonl")
			write(t, path, 0, "a", "b", "c")
			write(t, path, 0, "d")
			if r := verify(t, path); len(r.Problems) > 0 || len(r.Notes) > 0 || len(r.Chains) != 1 {
				t.Fatalf("before the change: %+v", r)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all := bytes.SplitAfter(text, newline)
			at := 1 + slices.IndexFunc(all, func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"seal"`)) })
			changed := bytes.Join(change(all, at), nil)
			if bytes.Equal(changed, text) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, path); len(r.Problems) == 0 {
				t.Errorf("not found in\n%s", changed)
			}
		})
	}
}

// TestVerifyFindsMissingFile: a rotated file in the middle is missing.
func TestVerifyFindsMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, path, 1, "a", "b", "c", "d")
	if r := verify(t, path); len(r.Problems) > 0 || len(r.Chains) != 1 {
		t.Fatalf("%+v", r)
	}
	if err := os.Remove(path + ".000003"); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, path); len(r.Problems) == 0 {
		t.Error("not found")
	}
}

// TestTornTail: what a killed worker leaves is kept as far as its lines are whole.
func TestTornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, path, 0, "a")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := len(text) - 1; n > 0; n-- {
		if err := os.WriteFile(path, text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, path, 0, "b")
		if r := verify(t, path); len(r.Problems) > 0 {
			t.Fatalf("cut to %d bytes: %+v", n, r)
		}
	}
}

func TestFileRefusesOthers(t *testing.T) {
	dir := t.TempDir()
	path, link, loose := filepath.Join(dir, "a"), filepath.Join(dir, "link"), filepath.Join(dir, "loose")
	write(t, path, 0, "a")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := errors.Join(os.Symlink(path, link), os.WriteFile(loose, nil, 0o600), os.Chmod(loose, 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, loose} {
		if _, err := NewFile(FileConfig{Path: name, Logger: quiet}).Open(t.Context()); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

// TestFullDisk: without room, a required record is refused in time; with room again, the log
// recovers, and its chain is whole.
func TestFullDisk(t *testing.T) {
	disk := testbed.SmallDisk(t, "1m")
	path, filler := filepath.Join(disk, "audit.jsonl"), filepath.Join(disk, "filler")
	l := open(t, true, NewFile(FileConfig{Path: path, Logger: quiet}))
	testbed.Fill(t, filler)
	refused := false
	for range 1000 { // the last page of the file has room
		if err := l.Put(t.Context(), entry("a")); err != nil {
			told, ok := errors.AsType[*subjects.Error](err)
			refused = ok && told.Code == subjects.StorageUnavailable // TestHangingSink asks how soon
			break
		}
	}
	if !refused || l.Ready() == nil {
		t.Fatalf("refused %v, ready %v", refused, l.Ready())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Ready() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not recover")
		}
	}
	if err := l.Put(t.Context(), entry("b")); err != nil {
		t.Error(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r := verify(t, path); len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

// hanging is a sink that answers once it is released.
type hangingSink struct{ release chan struct{} }

func (hangingSink) Name() string                       { return "hanging" }
func (hangingSink) Open(context.Context) (Head, error) { return NewChain(), nil }
func (h hangingSink) Write(context.Context, []byte, Head) error {
	<-h.release
	return nil
}
func (hangingSink) Close() error { return nil }

// TestHangingSink: a required record is refused within 2 s, any other waits for nobody.
func TestHangingSink(t *testing.T) {
	for _, required := range []bool{true, false} {
		bubble.Test(t, func(t *testing.T) {
			sink := hangingSink{make(chan struct{})}
			l := open(t, required, sink)
			begun := time.Now()
			err := l.Put(t.Context(), entry("a"))
			if took := time.Since(begun); (err != nil) != required || took >= 2*time.Second || !required && took > 0 {
				t.Errorf("required %v: %v after %v", required, err, took)
			}
			time.Sleep(2 * time.Second)
			if len(l.Problems()) != 1 || (l.Ready() != nil) != required {
				t.Errorf("required %v: problems %+v, ready %v", required, l.Problems(), l.Ready())
			}
			close(sink.release)
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHitAllocatesNothing is about the path of a cache hit.
func TestHitAllocatesNothing(t *testing.T) {
	l := open(t, false, NewFile(FileConfig{Path: filepath.Join(t.TempDir(), "a"), Logger: quiet}))
	defer l.Close(t.Context()) //nolint:errcheck // not the question
	b := l.Batch()
	scope, id, at := []byte("org:acme/team:eng"), []byte("db"), time.Now()
	if n := testing.AllocsPerRun(100, func() {
		b.Hit(at, scope, scope, id, id, id, "", "")
		b.lines, b.records = b.lines[:0], 0
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLongRecord: a record that is longer than a block is stored, once.
func TestLongRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := open(t, true, NewFile(FileConfig{Path: path, Logger: quiet}))
	long := entry("long")
	long.Caller.User = strings.Repeat("u", 2*maxBlock)
	if err := l.Put(t.Context(), long, entry("short")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if n := bytes.Count(text, []byte(`"seal"`)); err != nil || n > 5 || bytes.Count(text, []byte(`"short"`)) != 1 {
		t.Errorf("%d blocks (%v)", n, err)
	}
}

// TestMovedFile: a file that is moved, removed or replaced under the worker gets no further record: the
// next one is in the file of that name, and the chain goes on.
func TestMovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	moved := path + ".moved"
	for name, change := range map[string]func() error{
		"moved":   func() error { return os.Rename(path, moved) },
		"removed": func() error { return os.Remove(path) },
		"replaced": func() error {
			return errors.Join(os.Rename(path, moved), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&told, nil))
			l, err := Open(t.Context(), Config{Worker: "w", Required: true, Sinks: []Sink{NewFile(FileConfig{Path: path, Logger: logger})}, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			put := func(id subjects.ID) {
				t.Helper()
				if err := l.Put(t.Context(), entry(id)); err != nil {
					t.Fatal(err)
				}
			}
			put("before")
			if err := change(); err != nil {
				t.Fatal(err)
			}
			put("after")
			put("more")
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil || bytes.Contains(text, []byte(`"before"`)) || !bytes.Contains(text, []byte(`"after"`)) || !bytes.Contains(text, []byte(`"more"`)) {
				t.Errorf("the file has %s (%v)", text, err)
			}
			if n := strings.Count(told.String(), "has moved, removed or replaced"); n != 1 {
				t.Errorf("told %d times: %s", n, told.String())
			}
			if r := verify(t, path); len(r.Problems) > 0 || len(r.Notes) == 0 {
				t.Errorf("%+v", r)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOtherRotation: numbers as logrotate gives them, where 1 is the newest, are not ours.
func TestOtherRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, 1<<20, "first")
	for _, name := range []string{path + ".1", path + ".2"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if rotated, err := Rotated(path); err != nil || len(rotated) > 0 {
		t.Errorf("%v, %v", rotated, err)
	}
}

// TestHashEachHour: the log of the worker gets a hash of each hour in which something is recorded.
func TestHashEachHour(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		sink := hangingSink{make(chan struct{})}
		close(sink.release)
		logged := new(bytes.Buffer)
		l, err := Open(t.Context(), Config{Worker: "w", Required: true, Sinks: []Sink{sink}, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := l.Put(t.Context(), entry("a")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(40 * time.Minute)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(logged.String(), "goes on"); n != 2 { // after 80 and 160 minutes
			t.Errorf("%d hashes:\n%s", n, logged)
		}
	})
}

// TestKnownToHang: once a sink is known to hang, no request waits for it.
func TestKnownToHang(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		sink := hangingSink{make(chan struct{})}
		l := open(t, true, sink)
		if l.Put(t.Context(), entry("a")) == nil {
			t.Error("a record was accepted")
		}
		time.Sleep(time.Second)
		begun := time.Now()
		if err, took := l.Put(t.Context(), entry("b")), time.Since(begun); err == nil || took > 0 {
			t.Errorf("%v after %v", err, took)
		}
		close(sink.release)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
