package file_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/subjects"
)

// within fails the test if f blocks.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	returned := make(chan struct{})
	go func() { defer close(returned); f() }()
	select {
	case <-returned:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not return", what)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Anything else in the place of a record is damage. It blocks no call, no watch and
// no Close.
func TestInPlaceOfARecord(t *testing.T) {
	for what, put := range map[string]func(t *testing.T, path string){
		"a pipe": mkfifo,
		"a socket": func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			t.Cleanup(func() { l.Close() })
		},
		"a device": func(t *testing.T, path string) {
			if err := syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5); err != nil {
				t.Skipf("mknod: %v: to make a device needs root, or the capability CAP_MKNOD", err)
			}
		},
		"an empty directory": func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, path string) {
			if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Chdir(t.TempDir()) // the path of a socket must be short
			s, err := file.New(file.Config{Dir: "store"})
			if err != nil {
				t.Fatal(err)
			}
			if err := putAt(t, s, "first"); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("store", "records", "org=acme", "@db.cred")
			place := func() {
				t.Helper()
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				put(t, path)
			}
			place()
			watching, stop := context.WithCancel(t.Context())
			defer stop()
			stood, ended := make(chan struct{}, 100), make(chan struct{})
			go func() {
				defer close(ended)
				s.Watch(watching, func(store.Change) { stood <- struct{}{} }) //nolint:errcheck // it ends with the store
			}()
			within(t, "Watch", func() { <-stood })
			within(t, "Get", func() {
				if _, err := payloadAt(t, s); !errors.Is(err, store.ErrDamaged) {
					t.Errorf("Get: %v", err)
				}
			})
			within(t, "List", func() {
				if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 1 || page.Records[0].Damaged == "" {
					t.Errorf("List: %+v, %v", page, err)
				}
			})
			within(t, "Put", func() {
				if err := putAt(t, s, "second"); err != nil && !errors.Is(err, store.ErrDamaged) {
					t.Errorf("Put: %v", err)
				}
			})
			place()
			within(t, "Delete", func() {
				if err := s.Delete(t.Context(), placeKey, store.Precondition{}); err != nil && !errors.Is(err, store.ErrDamaged) {
					t.Errorf("Delete: %v", err)
				}
			})
			within(t, "Close", func() { s.Close(t.Context()) })
			within(t, "Watch after Close", func() { <-ended })
		})
	}
}

// A pipe in the place of the store's own files and directories does not block it
// either.
func TestPipesElsewhere(t *testing.T) {
	for _, name := range []string{"identity", "locks/00", "records/org=acme", "records", "locks", "."} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s, err := file.New(file.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := putAt(t, s, "first"); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			mkfifo(t, path)
			within(t, "a call", func() {
				for i := range 600 { // reaches every stripe, most likely
					key := subjects.Target{Scope: "org:acme", ID: newRecord("org:acme", "k"+string(rune('a'+i%26))+string(rune('a'+i/26)), "").ID}
					s.Put(t.Context(), &store.Record{Target: key, WriteID: "w", Payload: []byte("w")}, store.Precondition{}) //nolint:errcheck // it must only return
				}
				payloadAt(t, s)                                       //nolint:errcheck // likewise
				s.List(t.Context(), store.ListOptions{Limit: 10})     //nolint:errcheck // likewise
				s.Delete(t.Context(), placeKey, store.Precondition{}) //nolint:errcheck // likewise
			})
			within(t, "Close", func() { s.Close(t.Context()) })
			within(t, "New", func() {
				if s, err := file.New(file.Config{Dir: dir}); err == nil {
					s.Close(t.Context())
				}
			})
		})
	}
}
